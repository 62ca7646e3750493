/** What the page knows of the server, and when it asks: pushed by events, else at its own appointments. */
import { PageConfig } from '@jupyterlab/coreutils';
import type { ServiceManager } from '@jupyterlab/services';
import { ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { Refusal, Server } from './api';
import type { IHappening, IItem, IOutcome, IPreviousStop, IStatus } from './documents';
import { items, nextAsk, overdue, stoppedSince } from './states';
import type { ISeen } from './words';

/** Our events on the server's bus begin so. */
const EVENTS = 'https://events.jupyter.org/culling_manager/';
/** Several reasons to ask within this time (ms) are one. */
const TOGETHER = 120;
/** What the server puts into the page's configuration when its extension is on. */
const ON = 'cullingManager';
/** Where a browser tab remembers up to when it has told what was stopped, and a browser which last stop. */
const TOLD = 'culling-manager:told';
const PREVIOUS = 'culling-manager:previous-stop';

/** What was stopped, and what it was. */
export interface IStop {
  outcome: IOutcome;
  item: IItem | null;
}

/** An app that is being ended. */
export interface IGoing {
  type: string;
  name: string;
}

/** One server as one page sees it. */
export class Culling implements IDisposable {
  readonly server: Server;
  status: IStatus | null = null;
  /** Whether this user may change anything. */
  mayWrite = true;
  /** False where our handlers are not there, or not for this user. */
  available = PageConfig.getOption(ON) !== '';

  constructor(services: ServiceManager.IManager) {
    this.server = new Server(services.serverSettings ?? ServerConnection.makeSettings());
    if (!this.available) {
      return;
    }
    document.addEventListener('visibilitychange', this.onVisibility);
    window.addEventListener('online', this.soon);
    services.events.stream.connect(this.onEvent, this);
    services.connectionFailure.connect(this.soon, this);
    services.kernels.runningChanged.connect(this.onKernels, this);
    void this.begin();
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  /** Something that is shown may have changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Something was stopped since this page last looked. */
  get stopped(): ISignal<this, IStop[]> {
    return this._stopped;
  }

  /** The app that this page runs on is being ended. */
  get going(): ISignal<this, IGoing> {
    return this._going;
  }

  /** Why the last server ended its own app; told once. */
  get previous(): ISignal<this, IPreviousStop> {
    return this._previous;
  }

  /** The server's clock (ms). */
  get now(): number {
    return Date.now() + this.offset;
  }

  /** What words are made of. */
  get seen(): ISeen {
    return { status: this.status, now: this.now, lostAt: this.lostAt, ended: this.ended };
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.timer);
    document.removeEventListener('visibilitychange', this.onVisibility);
    window.removeEventListener('online', this.soon);
    Signal.clearData(this);
  }

  /** Change something on the server, then look; `Refusal` when it says no. */
  async act(change: Promise<void>): Promise<void> {
    try {
      await change;
    } finally {
      await this.look();
    }
  }

  /** Ask the server now, once however often this is called meanwhile. */
  look(): Promise<void> {
    if (this.asking !== null) {
      this.again = true;
      return this.asking;
    }
    clearTimeout(this.timer);
    this.asking = this.ask().finally(() => {
      this.asking = null;
      if (this.again) {
        this.again = false;
        void this.look();
      } else {
        this.plan();
      }
    });
    return this.asking;
  }

  private async begin(): Promise<void> {
    try {
      const rights = await this.server.rights();
      this.mayWrite = rights.write;
      if (!rights.read) {
        this.absent();
        return;
      }
    } catch (error) {
      // a server that cannot say is asked all the same, and refuses by itself
      console.debug('culling-manager: what this user may do is not known.', error);
    }
    if (!document.hidden) {
      await this.look();
    }
  }

  private async ask(): Promise<void> {
    const began = Date.now();
    try {
      const status = await this.server.status();
      this.offset = Date.parse(status.now) - (began + Date.now()) / 2;
      this.take(status);
    } catch (error) {
      if (error instanceof Refusal && [403, 404].includes(error.status)) {
        this.absent();
        return;
      }
      this.failures += 1;
      this.lostAt ??= this.now;
      if (this.ended !== null) {
        this.ended.over = true;
      }
    }
    this._changed.emit();
  }

  /** Take a state document over, and tell what is new in it. */
  private take(status: IStatus): void {
    const first = this.status === null;
    const back = this.lostAt !== null;
    this.available = true;
    this.failures = 0;
    this.lostAt = null;
    this.looks = overdue(status, this.now) ? this.looks + 1 : 0;
    this.status = status;
    if (this.ended !== null && (back || status.apps.some(app => app.decision === 'keep'))) {
      this.ended = null;
    }
    this.tellStops(status);
    for (const item of items(status)) {
      this.names.set(`${item.kind} ${item.id}`, item);
    }
    if ((first || back) && status.previous_stop) {
      this.tellPrevious(status.previous_stop);
    }
  }

  private tellStops(status: IStatus): void {
    const since = sessionStorage.getItem(TOLD) ?? status.now;
    const found = stoppedSince(status, since);
    const latest = [since, ...found.map(outcome => outcome.at)].sort().at(-1);
    sessionStorage.setItem(TOLD, latest ?? since);
    if (found.length > 0) {
      this._stopped.emit(found.map(outcome => ({ outcome, item: this.known(outcome.kind, outcome.identity) })));
    }
  }

  /** What something was that may be gone by now. */
  known(kind: string, id: string): IItem | null {
    return this.names.get(`${kind} ${id}`) ?? null;
  }

  private tellPrevious(stop: IPreviousStop): void {
    if (localStorage.getItem(PREVIOUS) !== stop.at) {
      localStorage.setItem(PREVIOUS, stop.at);
      this._previous.emit(stop);
    }
  }

  /** Our handlers are not there, or not for this user: nothing is shown, and nothing asked by the clock. */
  private absent(): void {
    this.available = false;
    this.status = null;
    this.lostAt = null;
    this.failures = 0;
    this._changed.emit();
  }

  /** Ask at the next appointment; never while nobody sees the page. */
  private plan(): void {
    clearTimeout(this.timer);
    if (this.disposed || document.hidden || !this.available) {
      return;
    }
    const seconds = nextAsk(this.status, this.now, this.failures, this.looks);
    this.timer = window.setTimeout(() => void this.look(), seconds * 1000);
  }

  private readonly soon = (): void => {
    if (this.disposed || document.hidden || !this.available || this.asking !== null) {
      return;
    }
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.look(), TOGETHER);
  };

  private readonly onVisibility = (): void => {
    if (document.hidden) {
      clearTimeout(this.timer);
    } else {
      this.soon();
    }
  };

  /** An event says that there is something to see, never what: the state document says that. */
  private onEvent(_: unknown, event: unknown): void {
    const happening = event as IHappening;
    if (!String(happening.schema_id ?? '').startsWith(EVENTS)) {
      return;
    }
    if (happening.schema_id.endsWith('/app') && happening.action === 'deleting' && this.status?.apps.length === 1) {
      this.ended = { at: this.now, over: false };
      this._going.emit({ type: String(happening.app_type ?? ''), name: String(happening.app ?? '') });
      this._changed.emit();
    }
    if (happening.action === 'failed' && happening.kind === 'app') {
      this.ended = null;
    }
    if (this.asking !== null) {
      this.again = !document.hidden;
    } else {
      this.soon();
    }
  }

  /** JupyterLab says every ten seconds that its kernels changed, whether they did or not: compare. */
  private onKernels(_: unknown, models: { id: string; execution_state?: string }[]): void {
    const states = models
      .map(model => `${model.id} ${model.execution_state}`)
      .sort()
      .join('\n');
    if (states !== this.states) {
      this.states = states;
      this.soon();
    }
  }

  private readonly names = new Map<string, IItem>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _stopped = new Signal<this, IStop[]>(this);
  private readonly _going = new Signal<this, IGoing>(this);
  private readonly _previous = new Signal<this, IPreviousStop>(this);
  private asking: Promise<void> | null = null;
  private again = false;
  private disposed = false;
  private ended: { at: number; over: boolean } | null = null;
  private failures = 0;
  private looks = 0;
  private lostAt: number | null = null;
  private offset = 0;
  private states = '';
  private timer = 0;
}
