/** Toasts: one warning for everything that is near, and what was stopped. */
import { Notification } from '@jupyterlab/apputils';

import { Refusal } from './api';
import type { IItem, IPreviousStop } from './documents';
import type { Culling, IGoing, IStop } from './model';
import { choices, deadline, warned } from './states';
import { goingWords, type ILanguage, keepFor, previousWords, stoppedWords, warning, whatWas } from './words';

/** Where a browser tab remembers which warnings were put away. */
const AWAY = 'culling-manager:put-away';
/** So many of them at most. */
const MOST = 50;

/** What to do about a kernel that was stopped; null when its document is not open. */
export type Restart = (stop: IStop) => (() => Promise<void>) | null;

/** Shows toasts, and takes them back. A warning that was put away stays away for its deadline. */
export class Warnings {
  private enabled = true;

  constructor(
    private readonly culling: Culling,
    private readonly language: ILanguage,
    private readonly restart: Restart
  ) {
    culling.changed.connect(this.refresh, this);
    culling.stopped.connect((_, stops) => this.tellStops(stops));
    culling.going.connect((_, app) => this.tellGoing(app));
    culling.previous.connect((_, stop) => this.tellPrevious(stop));
    document.addEventListener('click', event => this.clicked(event), { capture: true });
    Notification.manager.changed.connect((_, change) => {
      if (change.type === 'removed' && change.notification.id === this.shown) {
        this.shown = '';
        putAway(this.about);
      }
    });
  }

  /** Warn or not; what is shown goes when not. */
  set on(value: boolean) {
    this.enabled = value;
    this.refresh();
  }

  /** Tell a refusal in the server's words, and anything else in ours. */
  complain(error: unknown): void {
    const words =
      error instanceof Refusal ? error.message : this.language.trans.__('The server did not answer: try it again.');
    Notification.error(words, { autoClose: false });
  }

  /** Show what is to be warned of now: one toast, or none. */
  refresh(): void {
    const { status, seen } = this.culling;
    const away = awayNow();
    const silent = !this.enabled || status === null || seen.lostAt !== null || seen.ended !== null;
    const found = silent ? [] : warned(status).filter(item => !away.includes(deadline(item)));
    const about = found.map(deadline);
    const text = found.length === 0 ? '' : warning(found, this.culling.now, this.language);
    if (about.join() === this.about.join() && text === this.text) {
      return;
    }
    this.takeBack();
    this.about = about;
    this.text = text;
    if (found.length > 0) {
      this.shown = Notification.warning(text, { autoClose: false, actions: this.actions(found) });
    }
  }

  /** A toast's own button hides it and tells nobody, and the notification stays: of a warning that means put away. */
  private clicked(event: Event): void {
    const button = event.target instanceof Element ? event.target.closest('button') : null;
    const toast = button?.closest('.Toastify__toast')?.id ?? '';
    if (toast !== '' && toast === this.shown && button?.closest('.jp-toast-buttonBar') === null) {
      Notification.dismiss(toast);
    }
  }

  private takeBack(): void {
    const shown = this.shown;
    this.shown = '';
    if (shown !== '') {
      Notification.dismiss(shown);
    }
  }

  private actions(found: IItem[]): Notification.IAction[] {
    if (!this.culling.mayWrite) {
      return [];
    }
    return choices(this.culling.status?.policy?.max_keep_alive ?? 0).map(minutes => ({
      label: keepFor(minutes, this.language),
      callback: event => {
        event.preventDefault(); // it goes when the server has taken it on
        void this.keep(found, minutes);
      }
    }));
  }

  private async keep(found: IItem[], minutes: number): Promise<void> {
    const asked = found.map(item => this.culling.server.keep(item.kind, item.id, minutes));
    const answers = await Promise.allSettled(asked);
    const refused = answers.find(each => each.status === 'rejected');
    if (refused !== undefined) {
      this.complain(refused.reason);
    }
    await this.culling.look();
  }

  private tellStops(stops: IStop[]): void {
    for (const stop of stops.filter(each => each.outcome.kind !== 'app').slice(-5)) {
      const { outcome, item } = stop;
      const of = whatWas(outcome, item, this.language);
      const again = outcome.kind === 'kernel' ? this.restart(stop) : null;
      const start = this.language.trans.__('Start a new kernel');
      Notification.info(stoppedWords(outcome, of, this.culling.now, this.language), {
        autoClose: false,
        actions:
          again === null ? [] : [{ label: start, callback: () => void again().catch(error => this.complain(error)) }]
      });
    }
  }

  private tellGoing(app: IGoing): void {
    this.refresh();
    Notification.warning(goingWords(app, this.language), { autoClose: false });
  }

  private tellPrevious(stop: IPreviousStop): void {
    Notification.info(previousWords(stop, this.culling.now, this.language), { autoClose: false });
  }

  private about: string[] = [];
  private shown = '';
  private text = '';
}

/** The deadlines that were put away in this tab. */
function awayNow(): string[] {
  return (sessionStorage.getItem(AWAY) ?? '').split('\n');
}

function putAway(about: string[]): void {
  sessionStorage.setItem(AWAY, [...awayNow(), ...about].slice(-MOST).join('\n'));
}
