/** A section of the Running panel: what stops when, and what is kept. */
import type { IRunningSessions } from '@jupyterlab/running';
import { closeIcon } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import type { IItem, IRequest } from './documents';
import { clockIcon } from './icon';
import type { Culling } from './model';
import type { IDeeds } from './panel';
import { byUrgency, items, secondsTo } from './states';
import { clock, type ILanguage, span, what, why } from './words';

/** All that has a deadline or is kept by request, most urgent first. Its buttons take requests back, and stop nothing. */
export class RunningSection implements IRunningSessions.IManager {
  readonly runningChanged = new Signal<this, void>(this);
  readonly name: string;
  readonly shutdownLabel: string;
  readonly shutdownAllLabel: string;
  readonly shutdownAllConfirmationText: string;
  readonly shutdownItemIcon = closeIcon;

  constructor(
    private readonly culling: Culling,
    private readonly language: ILanguage,
    private readonly deeds: IDeeds
  ) {
    const { trans } = language;
    this.name = trans.__('Idle shutdown');
    this.shutdownLabel = trans.__('Resume');
    this.shutdownAllLabel = trans.__('Resume All');
    this.shutdownAllConfirmationText = trans.__(
      'Take back every request to keep something? Nothing is stopped by this.'
    );
    culling.changed.connect(() => this.runningChanged.emit());
  }

  running(): IRunningSessions.IRunningItem[] {
    const { status } = this.culling;
    const found = status === null ? [] : byUrgency(items(status));
    return found.filter(item => item.due_at !== null || item.kept_until !== null).map(item => this.row(item));
  }

  refreshRunning(): void {
    void this.culling.look();
  }

  shutdownAll(): void {
    for (const request of this.culling.status?.keep_alive ?? []) {
      this.resume(request);
    }
  }

  private row(item: IItem): IRunningSessions.IRunningItem {
    const asked = this.culling.status?.keep_alive.find(each => each.kind === item.kind && each.id === item.id);
    return {
      icon: () => clockIcon,
      label: () => `${what(item, this.language)}: ${this.fate(item)}`,
      labelTitle: () => why(item, this.language),
      open: () => this.deeds.open(item),
      ...(asked && this.culling.mayWrite ? { shutdown: () => this.resume(asked) } : {})
    };
  }

  private fate(item: IItem): string {
    const { trans } = this.language;
    if (item.kept_until !== null) {
      return trans.__('kept until %1', clock(item.kept_until, this.culling.now, this.language));
    }
    return trans.__('stops in %1', span(secondsTo(item.due_at ?? '', this.culling.now), this.language));
  }

  private resume(request: IRequest): void {
    void this.culling.act(this.culling.server.resume(request)).catch(this.deeds.complain);
  }
}
