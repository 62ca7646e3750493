/** What people read, and what follows from a state document. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { IEntry, IItem, IOutcome, IStatus } from '../src/documents';
import { byUrgency, choices, frontStop, type IFront, nextAsk, nextClock, nextTick, stoppedSince } from '../src/states';
import {
  countdown,
  givenBackWords,
  goingWords,
  type ILanguage,
  type ISeen,
  listed,
  span,
  stoppedWords,
  warning,
  what,
  why
} from '../src/words';

const fill = (text: string, args: unknown[]) => text.replace(/%(\d)/g, (_, n) => String(args[Number(n) - 1]));
const language: ILanguage = {
  tag: 'en-GB',
  trans: {
    __: (text, ...args) => fill(text, args),
    _n: (one, many, n, ...args) => fill(n === 1 ? one : many, args)
  }
};
const NOON = new Date(2026, 5, 1, 12, 0, 0).getTime();
const at = (seconds: number) => new Date(NOON + seconds * 1000).toISOString();

function entry(more: Partial<IEntry> = {}): IEntry {
  const idle = {
    idle_seconds: 5700,
    decision: 'keep' as const,
    reason: 'active',
    detail: '',
    due_at: at(1500),
    warned: false
  };
  return {
    id: 'k1',
    name: 'python3',
    state: 'idle',
    used_by: null,
    kept_until: null,
    session_name: 'a.ipynb',
    ...idle,
    ...more
  };
}

function status(more: Partial<IStatus> = {}): IStatus {
  const policy = { idle_timeout: 7200, warn_before: 300, max_keep_alive: 86400, dry_run: false };
  const nothing = { errors: [], notices: [], keep_alive: [], terminals: [], apps: [], recent: [] };
  return { now: at(0), watching: ['kernel'], policy, ...nothing, kernels: [entry()], ...more };
}

const front: IFront = { kind: 'kernel', id: 'k1', last: 'k1' };
const app = (more: Partial<IEntry> = {}) =>
  entry({ id: 'a1', name: 'default', type: 'JupyterLab', session_name: null, ...more });
const item = (more: Partial<IItem> = {}): IItem => ({ ...entry(), kind: 'kernel', ...more });

function shown(found: IStatus | null, more: Partial<ISeen> = {}, document: IFront | null = front): string | null {
  return countdown({ status: found, now: NOON, lostAt: null, ended: null, ...more }, document, language)?.text ?? null;
}

for (const [seconds, words] of [
  [0, '0 s'],
  [59.9, '59 s'],
  [60, '1 min'],
  [3599, '59 min'],
  [3600, '1 h'],
  [7500, '2 h 5 min'],
  [86400, '1 d'],
  [90000, '1 d 1 h'],
  [-5, '0 s']
] as const) {
  test(`${seconds} seconds are ${words}`, () => assert.equal(span(seconds, language), words));
}

for (const [what, entryOf, words] of [
  ['counts in minutes', {}, 'Kernel stops in 25 min'],
  ['counts in seconds at the end', { due_at: at(42) }, 'Kernel stops in 42 s'],
  ['says that it is working', { reason: 'busy', due_at: null }, 'Kernel is working'],
  ['says that a signal found work', { reason: 'at work', due_at: null }, 'Kernel is working'],
  [
    'says until when it is kept',
    { reason: 'kept alive', kept_until: at(3600), due_at: at(3600) },
    'Kernel is kept until 13:00'
  ],
  ['says that it is kept', { reason: 'connected', due_at: null }, 'Kernel is kept'],
  ['says that it is being stopped', { reason: 'idle', decision: 'cull', due_at: at(-1) }, 'Kernel is being stopped']
] as const) {
  test(`the countdown ${what}`, () => assert.equal(shown(status({ kernels: [entry(entryOf)] })), words));
}

test('an app with a deadline stands before its kernel', () => {
  assert.equal(shown(status({ apps: [app({ due_at: at(3000) })] })), 'App stops in 50 min · Kernel stops in 25 min');
});

test('an app that its kernel keeps is not spoken of', () => {
  assert.equal(shown(status({ apps: [app({ due_at: null, reason: 'in use' })] })), 'Kernel stops in 25 min');
});

test('of several apps none is this one', () => {
  assert.equal(shown(status({ apps: [app(), app({ id: 'a2' })] })), 'Kernel stops in 25 min');
});

test('a terminal that goes with its app says so', () => {
  const terminal = entry({ id: '1', name: '1', reason: 'goes with its app', due_at: null });
  assert.equal(
    shown(status({ terminals: [terminal] }), {}, { kind: 'terminal', id: '1', last: '1' }),
    'Terminal goes with its app'
  );
});

test('a terminal is called by its name and what runs in it', () => {
  const kind = 'terminal' as const;
  assert.equal(what({ ...entry({ name: '3', runs: 'python' }), kind }, language), 'Terminal 3 (python)');
  assert.equal(what({ ...entry({ name: '3', runs: null }), kind }, language), 'Terminal 3');
});

test('with neither kernel nor app there is nothing to show', () => {
  assert.equal(shown(status(), {}, null), null);
  assert.equal(shown(status({ kernels: [] })), null);
  assert.equal(shown(null), null);
  assert.equal(shown(status({ watching: [], policy: null, kernels: [] })), null);
});

test('off and dry run are said plainly', () => {
  const off = { ...status().policy!, idle_timeout: 0 };
  assert.equal(
    shown(status({ policy: off, kernels: [entry({ reason: 'off', due_at: null })] })),
    'Idle shutdown is off'
  );
  assert.equal(shown(status({ policy: { ...status().policy!, dry_run: true } })), 'Dry run');
});

test('what was stopped is said although Jupyter says idle', () => {
  const recent: IOutcome[] = [
    { kind: 'kernel', identity: 'k1', result: 'culled', reason: 'idle', idle_seconds: 7200, at: at(-60), message: '' }
  ];
  assert.equal(shown(status({ kernels: [], recent })), 'Kernel was stopped 11:59');
  assert.equal(shown(status({ kernels: [], recent: [{ ...recent[0], result: 'changed meanwhile' }] })), null);
  assert.equal(frontStop(status({ recent }), { kind: 'kernel', id: 'k2', last: 'k1' }), null);
});

test('no connection, and an app that was ended', () => {
  assert.equal(shown(status(), { lostAt: NOON - 60_000 }), 'No connection since 11:59');
  assert.equal(shown(status(), { ended: { at: NOON, over: false } }), 'App is being stopped');
  assert.equal(shown(status(), { lostAt: NOON, ended: { at: NOON, over: true } }), 'App was stopped 12:00');
});

test('amber once it is warned of, red in the last minute or on an error', () => {
  const level = (found: IStatus) =>
    countdown({ status: found, now: NOON, lostAt: null, ended: null }, front, language)?.level;
  const error = { subject: 's', message: 'm', last_at: at(0), active: true };
  assert.equal(level(status()), 'plain');
  assert.equal(level(status({ kernels: [entry({ warned: true, due_at: at(200) })] })), 'warned');
  assert.equal(level(status({ kernels: [entry({ warned: true, due_at: at(60) })] })), 'urgent');
  assert.equal(level(status({ errors: [error] })), 'urgent');
  assert.equal(shown(status({ errors: [error] })), 'Kernel stops in 25 min · Problem');
  assert.equal(level(status({ errors: [{ ...error, active: false }] })), 'plain');
});

test('one warning for everything that is near', () => {
  const kernel = item({ due_at: at(300) });
  const both = [kernel, { ...app({ due_at: at(300) }), kind: 'app' as const }];
  assert.equal(warning([kernel], NOON, language), 'Kernel of a.ipynb stops at 12:05: nobody uses it.');
  assert.equal(warning(both, NOON, language), 'Kernel of a.ipynb and App default stop at 12:05: nobody uses them.');
  assert.equal(
    warning([item({ reason: 'kept alive', due_at: at(60) })], NOON, language),
    'Kernel of a.ipynb stops at 12:01.'
  );
});

test('a warning is never longer than a toast shows', () => {
  const many = [1, 2, 3, 4].map(n =>
    item({ id: String(n), due_at: at(n), session_name: `${'long name '.repeat(20)}.ipynb` })
  );
  for (const found of [many, many.slice(0, 1)]) {
    assert.ok(warning(found, NOON, language).length <= 140);
  }
  const outcome = {
    kind: 'kernel' as const,
    identity: 'k',
    result: 'culled',
    reason: 'idle',
    idle_seconds: 90_000,
    at: at(0),
    message: ''
  };
  assert.ok(stoppedWords(outcome, what(many[0], language), NOON + 9e8, language).length <= 190);
});

test('names are listed as people do', () => {
  assert.equal(listed(['a'], 80, language), 'a');
  assert.equal(listed(['a', 'b', 'c'], 80, language), 'a, b and c');
  assert.equal(listed(['aaaa', 'b', 'c'], 6, language).endsWith('2 more'), true);
});

test('what is said while an app ends tells how to go on', () => {
  assert.match(goingWords({ type: 'JupyterServerProcess', name: 'x' }, language), /Start it again/);
  assert.match(goingWords({ type: 'JupyterLab', name: 'default' }, language), /App default .* space/);
  assert.match(goingWords({ type: 'NotebookInstance', name: 'mine' }, language), /instance mine .* console/);
});

for (const [bound, minutes] of [
  [0, [60, 240]],
  [86400, [60, 240]],
  [14400, [60, 240]],
  [7200, [60, 120]],
  [3600, [60]],
  [1800, [30]],
  [20, [1]]
] as const) {
  test(`with at most ${bound} s one may ask for ${minutes} minutes`, () => assert.deepEqual(choices(bound), minutes));
}

test('the most urgent stands first', () => {
  const found = byUrgency([
    item({ id: 'c', due_at: null }),
    item({ id: 'b', due_at: at(9) }),
    item({ id: 'a', due_at: at(-1) })
  ]);
  assert.deepEqual(
    found.map(each => each.id),
    ['a', 'b', 'c']
  );
});

test('the server is asked at its own appointments', () => {
  const due = (seconds: number, more = {}) => status({ kernels: [entry({ due_at: at(seconds), ...more })] });
  assert.equal(nextAsk(due(7000), NOON, 0, 0), 60);
  assert.ok(Math.abs(nextAsk(due(330), NOON, 0, 0) - 30.4) < 0.01);
  assert.ok(Math.abs(nextAsk(due(20, { warned: true }), NOON, 0, 0) - 20.4) < 0.01);
  assert.equal(nextAsk(due(-1), NOON, 0, 0), 1.5);
  assert.equal(nextAsk(due(-1), NOON, 0, 9), 60);
  assert.equal(nextAsk(null, NOON, 0, 0), 60);
});

test('after failures less and less, but not never', () => {
  assert.deepEqual(
    [1, 2, 3, 9].map(failures => nextAsk(null, NOON, failures, 0)),
    [5, 10, 20, 300]
  );
});

test('what is counted is written anew when it reads differently', () => {
  assert.equal(nextTick([90]), 30_020);
  assert.equal(nextTick([120]), 60_020);
  assert.equal(nextTick([42.5]), 520);
  assert.equal(nextTick([]), 60_020);
  assert.equal(nextTick([-3]), 60_020);
});

test('a time of day is the next one that a clock here shows', () => {
  assert.equal(nextClock('13:30', NOON), NOON + 5_400_000);
  assert.equal(new Date(nextClock('11:30', NOON) ?? 0).getDate(), 2);
  assert.equal(nextClock('25:00', NOON), null);
  assert.equal(nextClock('', NOON), null);
});

test('what was stopped is told once', () => {
  const outcome: IOutcome = {
    kind: 'kernel',
    identity: 'k',
    result: 'culled',
    reason: 'idle',
    idle_seconds: 1,
    at: at(5),
    message: ''
  };
  const found = status({ recent: [outcome, { ...outcome, result: 'failed', at: at(6) }] });
  assert.deepEqual(stoppedSince(found, at(0)), [outcome]);
  assert.deepEqual(stoppedSince(found, at(5)), []);
});

test('what went at a cap says at which', () => {
  const outcome = (reason: string): IOutcome => ({
    kind: 'app',
    identity: 'a',
    result: 'culled',
    reason,
    idle_seconds: 1,
    at: at(5),
    message: ''
  });
  assert.match(stoppedWords(outcome('too old'), 'App default', NOON, language), /it had run for as long as it may\.$/);
  assert.match(stoppedWords(outcome('at work too long'), 'App default', NOON, language), /worked in the background/);
  assert.equal(why(item({ reason: 'too old' }), language), 'it has run for as long as it may');
  assert.match(why(item({ reason: 'at work too long' }), language), /^it has worked in the background/);
});

test('what was given back stands between two bounds', () => {
  const found = { since: at(-86_400), stops: 1, at_least_seconds: 3600, at_most_seconds: 7200 };
  assert.match(
    givenBackWords(found, NOON, language),
    /^Given back since .*31.* by 1 stop: at least 1 h, at most 2 h\.$/
  );
  assert.match(givenBackWords({ ...found, stops: 2 }, NOON, language), /by 2 stops/);
});
