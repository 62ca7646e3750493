/** The panel: everything that is watched, why, and until when; what may be set; what was stopped. */
import { Clipboard } from '@jupyterlab/apputils';
import { PageConfig } from '@jupyterlab/coreutils';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IItem, ISettings, IStatus } from './documents';
import type { Culling } from './model';
import { byUrgency, choices, items, nextTick, secondsTo, stopped } from './states';
import { clock, givenBackWords, type ILanguage, keepShort, span, stoppedWords, what, whatWas, why } from './words';

/** What the panel can do besides showing. */
export interface IDeeds {
  /** Open the document of something. */
  open(item: IItem): void;
  /** Ask until when, and keep it. */
  until(item: IItem | null): void;
  /** Tell what went wrong. */
  complain(error: unknown): void;
}

interface IParts {
  culling: Culling;
  language: ILanguage;
  deeds: IDeeds;
}

/** The panel as a widget; what is focused when it opens is its heading. */
export class CullingPanel extends ReactWidget {
  constructor(private readonly parts: IParts) {
    super();
    this.addClass('jp-CullingManager-panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', parts.language.trans.__('Idle shutdown'));
  }

  protected render(): React.ReactElement {
    return (
      <UseSignal signal={this.parts.culling.changed}>{() => <Whole {...this.parts} shown={this.shown} />}</UseSignal>
    );
  }

  protected onActivateRequest(): void {
    // what is rendered may come a turn later
    window.setTimeout(() => (this.node.querySelector('h2') as HTMLElement | null)?.focus(), 0);
  }

  protected onAfterShow(): void {
    this.update();
  }

  private readonly shown = (): boolean => this.isVisible;
}

function Whole(parts: IParts & { shown: () => boolean }): React.ReactElement {
  const { culling, language } = parts;
  const { trans } = language;
  const { status } = culling;
  return (
    <div className="jp-CullingManager-content">
      <h2 tabIndex={-1}>{trans.__('Idle shutdown')}</h2>
      {status === null ? (
        <p>
          {culling.available ? trans.__('Waiting for the server.') : trans.__('Idle shutdown is not available here.')}
        </p>
      ) : (
        <Known {...parts} status={status} />
      )}
    </div>
  );
}

type Shown = IParts & { status: IStatus; shown: () => boolean };

function Known(parts: Shown): React.ReactElement {
  const { status, language } = parts;
  const { trans } = language;
  return (
    <>
      <Above {...parts} />
      {status.watching.length > 0 && <Table {...parts} />}
      {status.policy !== null && <Limits {...parts} />}
      <Stops {...parts} />
      {status.watching.includes('kernel') && <Paste {...parts} />}
      {status.watching.length === 0 && <p>{trans.__('Nothing is stopped on this server.')}</p>}
    </>
  );
}

function Above({ status, culling, language, deeds }: Shown): React.ReactElement {
  const { trans } = language;
  const all = status.keep_alive.find(request => request.kind === 'all');
  const { lostAt, now } = culling.seen;
  const policy = status.policy;
  return (
    <div className="jp-CullingManager-above">
      {lostAt !== null && <p data-level="urgent">{trans.__('No connection since %1', clock(lostAt, now, language))}</p>}
      {policy !== null && (
        <p>
          {policy.idle_timeout > 0
            ? trans.__('What is not used for %1 is stopped.', span(policy.idle_timeout, language))
            : trans.__('Idle shutdown is off.')}
          {policy.dry_run && ` ${trans.__('Dry run: it only says what it would stop.')}`}
        </p>
      )}
      {status.errors
        .filter(error => error.active)
        .map(error => (
          <p key={error.subject} data-level="urgent">
            {trans.__('Problem')}: {error.message}
          </p>
        ))}
      {status.notices.map(notice => (
        <p key={notice} data-level="warned">
          {notice}
        </p>
      ))}
      {all !== undefined && (
        <p>
          {all.asked_by
            ? trans.__('Everything is kept until %1, asked for by %2.', clock(all.until, now, language), all.asked_by)
            : trans.__('Everything is kept until %1.', clock(all.until, now, language))}{' '}
          {culling.mayWrite && (
            <button type="button" onClick={() => void culling.act(culling.server.resume(all)).catch(deeds.complain)}>
              {trans.__('Resume')}
            </button>
          )}
        </p>
      )}
    </div>
  );
}

function Table(parts: Shown): React.ReactElement {
  const { status, language, culling, shown } = parts;
  const { trans } = language;
  const found = byUrgency(items(status));
  useClock(culling, found, shown);
  const heads = [
    trans.__('What'),
    trans.__('State'),
    trans.__('Idle for'),
    trans.__('Stops'),
    trans.__('Why'),
    trans.__('Actions')
  ];
  // Roles are written out: a narrow panel shows rows as cards, and a table that is no table in CSS loses them.
  return (
    <>
      <h3>{trans.__('Kernels, terminals and apps')}</h3>
      {found.length === 0 && <p>{trans.__('Nothing is running.')}</p>}
      {found.length > 0 && (
        <table role="table" aria-label={trans.__('Kernels, terminals and apps')}>
          <thead role="rowgroup">
            <tr role="row">
              {heads.map(head => (
                <th role="columnheader" scope="col" key={head}>
                  {head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {found.map(item => (
              <Row key={`${item.kind} ${item.id}`} {...parts} item={item} heads={heads} />
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

function Row({ item, heads, ...parts }: Shown & { item: IItem; heads: string[] }): React.ReactElement {
  const { language, culling, deeds } = parts;
  const label = what(item, language);
  const now = culling.now;
  const left = item.due_at === null ? null : secondsTo(item.due_at, now);
  const level = item.warned ? (left !== null && left <= 60 ? 'urgent' : 'warned') : 'plain';
  const idle = item.idle_seconds === null ? '' : span(item.idle_seconds, language);
  const opens = item.kind !== 'app' && (item.kind === 'terminal' || Boolean(item.path));
  return (
    <tr role="row" data-level={level} data-kind={item.kind} data-id={item.id}>
      <th role="rowheader" scope="row">
        {opens ? (
          <button
            type="button"
            className="jp-CullingManager-link"
            title={item.path ?? ''}
            onClick={() => deeds.open(item)}
          >
            {label}
          </button>
        ) : (
          <span title={item.id}>{label}</span>
        )}
      </th>
      <td role="cell" data-head={heads[1]}>
        {stateWords(item, language)}
      </td>
      <td role="cell" data-head={heads[2]}>
        {unbroken(idle)}
      </td>
      <td role="cell" data-head={heads[3]}>
        {unbroken(stopsWords(item, left, now, language))}
      </td>
      <td role="cell" data-head={heads[4]} title={item.error ?? item.detail}>
        {unbroken(why(item, language))}
      </td>
      <td role="cell" className="jp-CullingManager-deeds">
        {culling.mayWrite && <Buttons {...parts} item={item} label={label} />}
      </td>
    </tr>
  );
}

/** With each number and its unit in one line. */
function unbroken(words: string): string {
  return words.replace(/(\d) (?=\p{L})/gu, '$1\u00a0');
}

/** Jupyter's words for states, in the page's language. */
function stateWords(item: IItem, { trans }: ILanguage): string {
  const words: Record<string, string> = {
    idle: trans.__('idle'),
    busy: trans.__('working'),
    starting: trans.__('starting'),
    restarting: trans.__('restarting'),
    dead: trans.__('dead'),
    running: trans.__('running'),
    ended: trans.__('ended'),
    InService: trans.__('in service')
  };
  return words[item.state ?? ''] ?? item.state ?? '';
}

function stopsWords(item: IItem, left: number | null, now: number, language: ILanguage): string {
  if (left === null || item.due_at === null) {
    return '–';
  }
  if (left <= 0) {
    return language.trans.__('now');
  }
  return language.trans.__('in %1 (%2)', span(left, language), clock(item.due_at, now, language));
}

function Buttons({ item, label, ...parts }: Shown & { item: IItem; label: string }): React.ReactElement {
  const { culling, language, deeds, status } = parts;
  const { trans } = language;
  const asked = status.keep_alive.find(request => request.kind === item.kind && request.id === item.id);
  const act = (change: Promise<void>) => void culling.act(change).catch(deeds.complain);
  return (
    <>
      {choices(status.policy?.max_keep_alive ?? 0).map(minutes => (
        <button
          type="button"
          key={minutes}
          aria-label={`${keepShort(minutes, language)}: ${label}`}
          onClick={() => act(culling.server.keep(item.kind, item.id, minutes))}
        >
          {keepShort(minutes, language)}
        </button>
      ))}
      <button type="button" aria-label={`${trans.__('Until…')} ${label}`} onClick={() => deeds.until(item)}>
        {trans.__('Until…')}
      </button>
      {asked && (
        <button
          type="button"
          aria-label={`${trans.__('Resume')}: ${label}`}
          onClick={() => act(culling.server.resume(asked))}
        >
          {trans.__('Resume')}
        </button>
      )}
    </>
  );
}

/** Renders again whenever what is counted down reads differently, while somebody sees it. */
function useClock(culling: Culling, found: IItem[], shown: () => boolean): void {
  const [, turn] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    const left = found.flatMap(item => (item.due_at === null ? [] : [secondsTo(item.due_at, culling.now)]));
    const wait = document.hidden || !shown() ? 60_000 : nextTick(left);
    const timer = window.setTimeout(turn, wait);
    return () => window.clearTimeout(timer);
  });
}

function Limits({ culling, language, deeds, status, shown }: Shown): React.ReactElement | null {
  const { trans } = language;
  const [limits, setLimits] = React.useState<ISettings | null>(null);
  const [minutes, setMinutes] = React.useState('');
  const [terminals, setTerminals] = React.useState(false);
  const [lasting, setLasting] = React.useState(false);
  const [problem, setProblem] = React.useState('');
  const visible = shown();
  const timeout = status.policy?.idle_timeout ?? 0;
  const take = React.useCallback((found: ISettings) => {
    setLimits(found);
    setMinutes(String(Number((found.idle_time / 60).toFixed(4))));
    setTerminals(found.keep_terminals);
    setLasting(found.saved !== null);
    setProblem('');
  }, []);
  // asked again when the timeout was changed, wherever that was
  React.useEffect(() => {
    if (visible) {
      culling.server.limits().then(take, error => console.debug('culling-manager: no settings.', error));
    }
  }, [culling, take, visible, timeout]);
  if (limits === null) {
    return null;
  }
  const low = limits.bounds.min_idle_timeout || 1;
  const high = limits.bounds.max_idle_timeout || undefined;
  const fixed = limits.bounds.keep_terminals === 'fixed';
  const range = high === undefined ? trans.__('at least %1', low) : trans.__('%1 to %2', low, high);
  const act = async (change: Promise<void>) => {
    try {
      await culling.act(change);
      take(await culling.server.limits());
    } catch (error) {
      deeds.complain(error);
    }
  };
  const submit = (event: React.FormEvent) => {
    event.preventDefault();
    const wanted = Number(minutes);
    const changed = wanted !== limits.idle_time / 60;
    if (
      minutes.trim() === '' ||
      Number.isNaN(wanted) ||
      (changed && (wanted < low || (high !== undefined && wanted > high)))
    ) {
      setProblem(trans.__('Timeout (minutes): %1', range));
      return;
    }
    void act(culling.server.change(wanted, fixed ? null : terminals, lasting));
  };
  return (
    <form noValidate onSubmit={submit} aria-label={trans.__('Settings')}>
      <h3>{trans.__('Settings')}</h3>
      <label>
        {trans.__('Timeout (minutes)')}{' '}
        <input
          type="number"
          step="any"
          min={low}
          max={high}
          value={minutes}
          disabled={!culling.mayWrite}
          aria-invalid={problem !== ''}
          aria-describedby="culling-manager-range"
          onChange={event => setMinutes(event.target.value)}
        />{' '}
        <span id="culling-manager-range">{range}</span>
      </label>
      <label>
        <input
          type="checkbox"
          checked={terminals}
          disabled={fixed || !culling.mayWrite}
          onChange={event => setTerminals(event.target.checked)}
        />{' '}
        {fixed ? trans.__('Keep terminals (fixed by your admin)') : trans.__('Keep terminals')}
      </label>
      <label>
        <input
          type="checkbox"
          checked={lasting}
          disabled={!culling.mayWrite}
          onChange={event => setLasting(event.target.checked)}
        />{' '}
        {trans.__('Also after a restart')}
      </label>
      <p role="status" data-level={problem === '' ? 'plain' : 'urgent'}>
        {problem}
      </p>
      {culling.mayWrite && (
        <div className="jp-CullingManager-deeds">
          <button type="submit">{trans.__('Apply')}</button>
          <button type="button" onClick={() => void act(culling.server.reset())}>
            {trans.__('Reset')}
          </button>
        </div>
      )}
    </form>
  );
}

function Stops({ status, culling, language }: Shown): React.ReactElement | null {
  const { trans } = language;
  const found = status.recent.filter(stopped).slice(-10).reverse();
  const given = status.given_back?.stops ? status.given_back : null;
  if (found.length === 0 && given === null) {
    return null;
  }
  return (
    <section aria-label={trans.__('Lately stopped')}>
      <h3>{trans.__('Lately stopped')}</h3>
      <ul>
        {found.map(outcome => (
          <li key={`${outcome.kind} ${outcome.identity} ${outcome.at}`}>
            {stoppedWords(
              outcome,
              whatWas(outcome, culling.known(outcome.kind, outcome.identity), language),
              culling.now,
              language
            )}
          </li>
        ))}
      </ul>
      {given !== null && <p>{givenBackWords(given, culling.now, language)}</p>}
    </section>
  );
}

/** A line for a notebook whose environment lacks the package; the server has it, where there is one for its kernels. */
function Paste({ culling, language }: Shown): React.ReactElement | null {
  const { trans } = language;
  const line = PageConfig.getOption('cullingManagerPaste');
  if (line === '' || !culling.mayWrite) {
    return null;
  }
  return (
    <details>
      <summary>{trans.__('Keep a kernel from its own code')}</summary>
      <p>
        {trans.__(
          'Run this in a notebook, and its kernel is kept for four hours. It needs the standard library of Python alone.'
        )}
      </p>
      <textarea readOnly rows={5} aria-label={trans.__('A line to paste')} value={line} />
      <button type="button" onClick={() => Clipboard.copyToSystem(line)}>
        {trans.__('Copy')}
      </button>
    </details>
  );
}
