/** Presence: somebody works in a document. Only that is told, at most once a minute, never what was typed. */
import type { JupyterFrontEnd } from '@jupyterlab/application';

import { documents, pathOf, sessionOf } from './front';
import type { Culling } from './model';

/** At most one message per document in these seconds; a quarter of the timeout where that is shorter. */
const SELDOM = 60;

/** Listens for keys and pointers inside documents with a kernel, and tells the server. */
export class Presence {
  on = true;

  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly culling: Culling
  ) {
    for (const kind of ['keydown', 'pointerdown'] as const) {
      document.addEventListener(kind, event => this.noticed(event), { capture: true, passive: true });
    }
  }

  private noticed(event: Event): void {
    const { culling } = this;
    const wanted = this.on && culling.mayWrite && culling.status?.presence === true;
    if (!wanted || !event.isTrusted || document.hidden || !(event.target instanceof Node)) {
      return;
    }
    const target = event.target;
    const widget = documents(this.app).find(each => each.node.contains(target)) ?? null;
    const path = sessionOf(widget)?.session?.kernel ? pathOf(widget) : null;
    if (path !== null) {
      this.tell(path);
    }
  }

  private tell(path: string): void {
    const timeout = this.culling.status?.policy?.idle_timeout ?? 0;
    const seldom = Math.min(SELDOM, timeout > 0 ? timeout / 4 : SELDOM) * 1000;
    const now = performance.now();
    if (now - (this.told.get(path) ?? -Infinity) < seldom) {
      return;
    }
    this.told.set(path, now);
    // What cannot be told now is told with the next key; the server goes by what it sees until then.
    this.culling.server.present(path).catch(error => console.debug('culling-manager: presence was not told.', error));
  }

  private readonly told = new Map<string, number>();
}
