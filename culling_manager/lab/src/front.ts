/** What a page has in front, and which of its documents is which. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ISessionContext } from '@jupyterlab/apputils';
import { Signal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

import type { IFront } from './states';

/** What widgets with a kernel or a terminal have, however they are made. */
interface ILike extends Widget {
  sessionContext?: ISessionContext;
  context?: { path?: string; sessionContext?: ISessionContext; localPath?: string };
  content?: { session?: { model?: { name?: string }; name?: string } };
}

/** A widget's session, if it has one. */
export function sessionOf(widget: Widget | null): ISessionContext | null {
  const like = widget as ILike | null;
  return like?.sessionContext ?? like?.context?.sessionContext ?? null;
}

/** The path of a widget's document, as the server's contents have it; null when it has none. */
export function pathOf(widget: Widget | null): string | null {
  const like = widget as ILike | null;
  return like?.context?.localPath ?? like?.context?.path ?? sessionOf(widget)?.path ?? null;
}

/** All documents, consoles and terminals of a page. */
export function documents(app: JupyterFrontEnd): Widget[] {
  return [...app.shell.widgets('main')];
}

/** Follows what is in front. */
export class Front {
  readonly changed = new Signal<this, void>(this);

  constructor(private readonly app: JupyterFrontEnd) {
    app.shell.currentChanged?.connect(() => this.follow());
    void app.restored.then(() => this.follow());
  }

  /** What is in front; null when that is neither a kernel's nor a terminal. */
  get current(): IFront | null {
    const session = sessionOf(this.widget);
    if (session !== null) {
      const id = session.session?.kernel?.id ?? null;
      if (id !== null) {
        this.kernels.set(session, id);
      }
      return { kind: 'kernel', id, last: this.kernels.get(session) ?? null };
    }
    const terminal = (this.widget as ILike | null)?.content?.session;
    const id = terminal?.model?.name ?? terminal?.name;
    return typeof id === 'string' ? { kind: 'terminal', id, last: id } : null;
  }

  /** The widget in front of the main area; in a Notebook page there is only one. */
  get widget(): Widget | null {
    return this.app.shell.currentWidget ?? documents(this.app)[0] ?? null;
  }

  private follow(): void {
    const session = sessionOf(this.widget);
    if (session !== this.followed) {
      this.followed?.kernelChanged.disconnect(this.told, this);
      this.followed = session;
      session?.kernelChanged.connect(this.told, this);
    }
    this.told();
  }

  private told(): void {
    void this.current; // remembers the kernel that is there
    this.changed.emit();
  }

  private followed: ISessionContext | null = null;
  private readonly kernels = new WeakMap<ISessionContext, string>();
}
