/** What follows from a state document: pure, and without words. */
import type { IEntry, IItem, IOutcome, IStatus, Kind } from './documents';

/** The last minute (seconds) is shown in seconds. */
export const LAST = 60;
/** A refresh at least this often (seconds) while the page is seen. */
export const REGULARLY = 60;
/** And after failures at most this rarely (seconds). */
export const RARELY = 300;

/** What a page has in front: a document with a kernel, or a terminal; `last` is the kernel it had before. */
export interface IFront {
  kind: 'kernel' | 'terminal';
  id: string | null;
  last: string | null;
}

/** Seconds from an instant (ISO 8601) to `now` (ms); negative when it is past. */
export function secondsTo(at: string, now: number): number {
  return (Date.parse(at) - now) / 1000;
}

/** All that is watched, each knowing its kind. */
export function items(status: IStatus): IItem[] {
  const of = (kind: Kind, found: IEntry[]) => found.map(entry => ({ ...entry, kind }));
  return [...of('kernel', status.kernels), ...of('terminal', status.terminals), ...of('app', status.apps)];
}

/** The most urgent first: what is being stopped, then by deadline, then what has none; by name where equal. */
export function byUrgency(found: IItem[]): IItem[] {
  const rank = (item: IItem) => (item.due_at === null ? Infinity : Date.parse(item.due_at));
  return [...found].sort((a, b) => {
    const first = rank(a) - rank(b);
    return first === 0 || Number.isNaN(first) ? a.name.localeCompare(b.name) : first;
  });
}

/** What a warning is about. */
export function warned(status: IStatus): IItem[] {
  return byUrgency(items(status).filter(item => item.warned && item.due_at !== null));
}

/** What identifies a deadline of something. */
export function deadline(item: IItem): string {
  return `${item.kind} ${item.id} ${item.due_at}`;
}

/** The app that this page runs on, where that is clear. */
export function ownApp(status: IStatus): IItem | null {
  return status.apps.length === 1 ? { ...status.apps[0], kind: 'app' } : null;
}

/** What a page has in front, as the server knows it. */
export function frontItem(status: IStatus, front: IFront | null): IItem | null {
  if (front === null || front.id === null) {
    return null;
  }
  return items(status).find(item => item.kind === front.kind && item.id === front.id) ?? null;
}

/** How the kernel that a document had was stopped; null when it was not by us. */
export function frontStop(status: IStatus, front: IFront | null): IOutcome | null {
  const known = front?.id ?? front?.last ?? null;
  return [...status.recent].reverse().find(each => stopped(each) && each.identity === known) ?? null;
}

/** Whether an outcome says that something was stopped. */
export function stopped(outcome: IOutcome): boolean {
  return outcome.result === 'culled';
}

/** What was stopped after an instant (ISO 8601; '' for ever). */
export function stoppedSince(status: IStatus, since: string): IOutcome[] {
  return status.recent.filter(each => stopped(each) && each.at > since);
}

/** Minutes that may be asked for: one hour and four, and the bound (seconds; 0: none) in place of what is over it. */
export function choices(bound: number): number[] {
  const wanted = [60, 240];
  const allowed = wanted.filter(minutes => bound <= 0 || minutes * 60 <= bound);
  return allowed.length === wanted.length ? wanted : [...new Set([...allowed, Math.max(1, Math.floor(bound / 60))])];
}

/**
 * Seconds until the server is asked next: at its own appointments, else regularly; after failures less and less.
 *
 * What is overdue is being stopped: `looks` counts how often that was seen in a row.
 */
export function nextAsk(status: IStatus | null, now: number, failures: number, looks: number): number {
  if (failures > 0) {
    return Math.min(RARELY, 5 * 2 ** (failures - 1));
  }
  if (status === null) {
    return REGULARLY;
  }
  const policy = status.policy;
  const ahead = policy === null ? 0 : Math.min(policy.warn_before, policy.idle_timeout / 2);
  const found = [REGULARLY];
  for (const item of items(status)) {
    if (item.due_at === null) {
      continue;
    }
    const left = secondsTo(item.due_at, now);
    if (left <= 0) {
      found.push(1.5 * 2 ** looks);
    } else {
      found.push(left + 0.4, ...(left > ahead && !item.warned ? [left - ahead + 0.4] : []));
    }
  }
  return Math.max(0.3, Math.min(...found));
}

/** Whether something is past its deadline. */
export function overdue(status: IStatus, now: number): boolean {
  return items(status).some(item => item.due_at !== null && secondsTo(item.due_at, now) <= 0);
}

/** Milliseconds until what is written of `left` seconds changes: each minute, and each second in the last one. */
export function nextTick(left: number[]): number {
  const next = left
    .filter(seconds => seconds > 0)
    .map(seconds => (seconds <= LAST ? seconds % 1 || 1 : seconds % 60 || 60));
  return Math.max(50, Math.min(60, ...next) * 1000 + 20);
}

/** The next instant (ms) after `now` at which a clock here shows "HH:MM"; null when that is no time of day. */
export function nextClock(text: string, now: number): number | null {
  const found = /^([01]?\d|2[0-3]):([0-5]\d)$/.exec(text.trim());
  if (found === null) {
    return null;
  }
  const at = new Date(now);
  at.setHours(Number(found[1]), Number(found[2]), 0, 0);
  if (at.getTime() <= now) {
    at.setDate(at.getDate() + 1);
  }
  return at.getTime();
}
