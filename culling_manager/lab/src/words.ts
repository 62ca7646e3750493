/** Everything that people read, made from what is so; each sentence can be translated. */
import type { IGivenBack, IItem, IOutcome, IPreviousStop, IStatus } from './documents';
import type { IFront } from './states';
import { frontItem, frontStop, LAST, ownApp, secondsTo } from './states';

/** Translates, as JupyterLab's bundles do. */
export interface ITranslate {
  __(text: string, ...args: unknown[]): string;
  _n(one: string, many: string, n: number, ...args: unknown[]): string;
}

/** Words in a language, with a clock in its habit. */
export interface ILanguage {
  trans: ITranslate;
  /** A BCP 47 tag for times of day. */
  tag: string;
}

/** How urgent something looks; it is said in words too. */
export type Level = 'plain' | 'warned' | 'urgent';

/** What a page knows. `now` (ms) is the server's. */
export interface ISeen {
  status: IStatus | null;
  now: number;
  /** Since when nobody has answered (ms); null while somebody does. */
  lostAt: number | null;
  /** The app that was ended, and when (ms). */
  ended: { at: number; over: boolean } | null;
}

/** What the countdown shows. */
export interface IShown {
  text: string;
  level: Level;
  /** Seconds that are counted down in it. */
  left: number[];
}

/** Seconds as people say them: "45 s", "12 min", "2 h 5 min", "3 d 4 h". */
export function span(seconds: number, { trans }: ILanguage): string {
  const whole = Math.max(0, Math.floor(seconds + 0.001));
  const [minutes, hours, days] = [Math.floor(whole / 60), Math.floor(whole / 3600), Math.floor(whole / 86400)];
  if (whole < LAST) {
    return trans.__('%1 s', whole);
  }
  if (minutes < 60) {
    return trans.__('%1 min', minutes);
  }
  if (hours < 24) {
    return minutes % 60 ? trans.__('%1 h %2 min', hours, minutes % 60) : trans.__('%1 h', hours);
  }
  return hours % 24 ? trans.__('%1 d %2 h', days, hours % 24) : trans.__('%1 d', days);
}

/** A time of day, with the day where that is another than today's. */
export function clock(at: string | number, now: number, { tag }: ILanguage): string {
  const date = new Date(at);
  const today = date.toDateString() === new Date(now).toDateString();
  const day: Intl.DateTimeFormatOptions = today ? {} : { weekday: 'short', day: 'numeric', month: 'short' };
  return date.toLocaleString(tag, { ...day, hour: 'numeric', minute: '2-digit' });
}

/** What people call it: a document's name for a kernel. */
export function name(item: { kind: string; name: string; path?: string | null; session_name?: string | null }): string {
  const file = item.path ? item.path.split('/').pop() : '';
  return item.session_name || file || item.name;
}

/** What it is: "Kernel of a.ipynb", "Terminal 1 (python)", "App default". */
export function what(item: IItem, { trans }: ILanguage): string {
  switch (item.kind) {
    case 'kernel':
      return item.session_name || item.path
        ? trans.__('Kernel of %1', name(item))
        : trans.__('Kernel %1 (%2)', item.name, item.id.slice(0, 8));
    case 'terminal':
      return trans.__('Terminal %1', item.runs ? `${item.name} (${item.runs})` : item.name);
    default:
      return item.type === 'JupyterServerProcess' ? trans.__('This server') : trans.__('App %1', item.name);
  }
}

/** The bare noun. */
function noun(kind: string, { trans }: ILanguage): string {
  return { kernel: trans.__('Kernel'), terminal: trans.__('Terminal') }[kind] ?? trans.__('App');
}

/** Why it is kept or stopped, in a few words. */
export function why(item: IItem, language: ILanguage): string {
  const { trans } = language;
  const idle = item.idle_seconds === null ? '' : span(item.idle_seconds, language);
  const words: Record<string, string> = {
    unknown: trans.__('kept, its state cannot be told'),
    off: trans.__('idle shutdown is off for it'),
    external: trans.__('this server did not start it'),
    dead: trans.__('its process is gone'),
    'kept alive': trans.__('somebody asked for it'),
    busy: trans.__('it is working'),
    'busy too long': trans.__('it has been working for too long'),
    connected: trans.__('a page is connected to it'),
    'just disconnected': trans.__('a page was closed just now'),
    active: trans.__('not used for %1', idle),
    idle: trans.__('not used for %1', idle),
    keep_terminals: trans.__('terminals are kept'),
    'not billed': trans.__('it costs nothing'),
    'goes with its app': trans.__('it goes with its app'),
    ended: trans.__('its shell has ended'),
    'clock jump': trans.__('the clock was set'),
    'not in service': trans.__('it is not in service'),
    protected: trans.__('it is protected'),
    'in use': trans.__('something on it is in use'),
    'in use by a person': trans.__('somebody works in it'),
    'at work': trans.__('it is at work'),
    'grace period': trans.__('it has just finished a long run'),
    'at work too long': trans.__('it has worked in the background for as long as it may'),
    'too old': trans.__('it has run for as long as it may')
  };
  return words[item.reason] ?? item.detail;
}

/** Whether it is kept because it works or somebody works in it. */
function works(item: IItem): boolean {
  return ['busy', 'at work', 'in use', 'in use by a person'].includes(item.reason);
}

/** What becomes of one thing, in a few words that begin with its noun. */
function fate(item: IItem, now: number, language: ILanguage): { text: string; left: number | null } {
  const { trans } = language;
  const it = noun(item.kind, language);
  if (item.reason === 'kept alive' && item.kept_until !== null) {
    return { text: trans.__('%1 is kept until %2', it, clock(item.kept_until, now, language)), left: null };
  }
  if (item.reason === 'busy' && item.due_at === null) {
    return { text: trans.__('%1 is working', it), left: null };
  }
  if (item.due_at !== null) {
    const left = secondsTo(item.due_at, now);
    const text = left > 0 ? trans.__('%1 stops in %2', it, span(left, language)) : trans.__('%1 is being stopped', it);
    return { text, left };
  }
  if (works(item)) {
    const person = item.reason === 'in use by a person';
    return { text: person ? trans.__('%1 is in use', it) : trans.__('%1 is working', it), left: null };
  }
  if (item.reason === 'goes with its app') {
    return { text: trans.__('%1 goes with its app', it), left: null };
  }
  return { text: trans.__('%1 is kept', it), left: null };
}

/** What the countdown shows; null when there is nothing to show. */
export function countdown(seen: ISeen, front: IFront | null, language: ILanguage): IShown | null {
  const { trans } = language;
  const { status, now, lostAt, ended } = seen;
  const plain = (text: string, level: Level = 'plain'): IShown => ({ text, level, left: [] });
  if (ended !== null) {
    return ended.over || lostAt !== null
      ? plain(trans.__('App was stopped %1', clock(ended.at, now, language)), 'urgent')
      : plain(trans.__('App is being stopped'), 'urgent');
  }
  if (lostAt !== null) {
    return plain(trans.__('No connection since %1', clock(lostAt, now, language)), 'urgent');
  }
  if (status === null || status.policy === null || status.watching.length === 0) {
    return null;
  }
  const item = frontItem(status, front);
  const app = ownApp(status);
  const stop = item === null ? frontStop(status, front) : null;
  if (stop !== null) {
    return plain(trans.__('%1 was stopped %2', noun(stop.kind, language), clock(stop.at, now, language)), 'warned');
  }
  if (item === null && app === null) {
    return null;
  }
  if (status.policy.idle_timeout <= 0 && (item ?? app)?.reason === 'off') {
    return plain(trans.__('Idle shutdown is off'));
  }
  if (status.policy.dry_run) {
    return plain(trans.__('Dry run'));
  }
  return counted(status, item, app, now, language);
}

/** The app where it has a deadline, and what is in front. */
function counted(status: IStatus, item: IItem | null, app: IItem | null, now: number, language: ILanguage): IShown {
  const { trans } = language;
  const both = app !== null && (item === null || app.due_at !== null || app.reason === 'kept alive');
  const fates = [...(both ? [app] : []), ...(item === null ? [] : [item])].map(each => fate(each, now, language));
  const left = fates.flatMap(each => (each.left === null ? [] : [each.left]));
  const problem = status.errors.some(each => each.active);
  const warned = Boolean(item?.warned || (both && app.warned));
  const urgent = problem || (warned && left.some(seconds => seconds <= LAST));
  const text = [...fates.map(each => each.text), ...(problem ? [trans.__('Problem')] : [])].join(' · ');
  return { text, level: urgent ? 'urgent' : warned ? 'warned' : 'plain', left };
}

/** A list as people say it: "a, b and c"; what is too much for `room` characters is counted. */
export function listed(names: string[], room: number, { trans }: ILanguage): string {
  const joined = names.length < 2 ? names.join('') : trans.__('%1 and %2', names.slice(0, -1).join(', '), names.at(-1));
  if (joined.length <= room) {
    return joined;
  }
  const first = names[0].length > room - 14 ? `${names[0].slice(0, room - 15)}…` : names[0];
  return names.length === 1 ? first : trans.__('%1 and %2 more', first, names.length - 1);
}

/** The sentence of a warning, never longer than a toast shows. */
export function warning(found: IItem[], now: number, language: ILanguage): string {
  const { trans } = language;
  const names = listed(
    found.map(item => what(item, language)),
    80,
    language
  );
  const at = clock(found[0].due_at ?? now, now, language);
  const used = found.every(item => ['active', 'idle'].includes(item.reason));
  if (!used) {
    return found.length === 1 ? trans.__('%1 stops at %2.', names, at) : trans.__('%1 stop from %2.', names, at);
  }
  const same = found.every(item => clock(item.due_at ?? now, now, language) === at);
  if (found.length === 1) {
    return trans.__('%1 stops at %2: nobody uses it.', names, at);
  }
  return same
    ? trans.__('%1 stop at %2: nobody uses them.', names, at)
    : trans.__('%1 stop from %2: nobody uses them.', names, at);
}

/** How long a button keeps something: "Keep for 1 hour". */
export function keepFor(minutes: number, { trans }: ILanguage): string {
  return minutes % 60 === 0
    ? trans._n('Keep for %1 hour', 'Keep for %1 hours', minutes / 60, minutes / 60)
    : trans._n('Keep for %1 minute', 'Keep for %1 minutes', minutes, minutes);
}

/** The same, short. */
export function keepShort(minutes: number, language: ILanguage): string {
  return language.trans.__('Keep %1', span(minutes * 60, language));
}

/** What was stopped, in one sentence; `of` says what it was. */
export function stoppedWords(outcome: IOutcome, of: string, now: number, language: ILanguage): string {
  const { trans } = language;
  const short = of.length > 60 ? `${of.slice(0, 59)}…` : of;
  const at = clock(outcome.at, now, language);
  const rest = outcome.kind === 'kernel' ? ` ${trans.__('Its variables are gone, the file is not.')}` : '';
  if (outcome.reason === 'dead') {
    return trans.__('%1 had died and was removed at %2.', short, at) + rest;
  }
  if (outcome.reason === 'too old') {
    return trans.__('%1 was stopped at %2: it had run for as long as it may.', short, at) + rest;
  }
  if (outcome.reason === 'at work too long') {
    return trans.__('%1 was stopped at %2: it had worked in the background for as long as it may.', short, at) + rest;
  }
  if (outcome.reason !== 'idle' || outcome.idle_seconds === null) {
    return trans.__('%1 was stopped at %2.', short, at) + rest;
  }
  return trans.__('%1 was stopped at %2 after %3 without use.', short, at, span(outcome.idle_seconds, language)) + rest;
}

/** What stops gave back, between the two bounds that can be defended. */
export function givenBackWords(found: IGivenBack, now: number, language: ILanguage): string {
  const { trans } = language;
  const since = clock(found.since, now, language);
  const [least, most] = [span(found.at_least_seconds, language), span(found.at_most_seconds, language)];
  return trans._n(
    'Given back since %1 by %2 stop: at least %3, at most %4.',
    'Given back since %1 by %2 stops: at least %3, at most %4.',
    found.stops,
    since,
    found.stops,
    least,
    most
  );
}

/** What it says while an app is ended, and how to go on. */
export function goingWords(app: { type: string; name: string }, language: ILanguage): string {
  const { trans } = language;
  switch (app.type) {
    case 'JupyterServerProcess':
      return trans.__('This server stops now: nobody used it. Files are kept. Start it again to go on.');
    case 'NotebookInstance':
      return trans.__(
        'Notebook instance %1 stops now: nobody used it. Start it again in the console to go on.',
        app.name
      );
    default:
      return trans.__(
        'App %1 stops now: nobody used it. Files are kept. Run the space again in Studio to go on.',
        app.name
      );
  }
}

/** What the last server said before it ended its own app. */
export function previousWords(stop: IPreviousStop, now: number, language: ILanguage): string {
  const { trans } = language;
  const at = clock(stop.at, now, language);
  return typeof stop.idle_seconds === 'number'
    ? trans.__(
        'This app was stopped at %1 after %2 without use. Files were kept.',
        at,
        span(stop.idle_seconds, language)
      )
    : trans.__('This app was stopped at %1. Files were kept.', at);
}
