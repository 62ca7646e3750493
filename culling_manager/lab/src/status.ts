/** The countdown: a button that says what becomes of the document in front. */
import { Widget } from '@lumino/widgets';

import type { Front } from './front';
import type { Culling } from './model';
import { nextTick } from './states';
import { countdown, type ILanguage } from './words';

/** When the countdown is shown: always, only when something is near, or never. */
export type When = 'always' | 'near' | 'never';

/** A button in the status bar, or in the menu bar where there is none. It is no live region: a toast warns. */
export class Countdown extends Widget {
  when: When = 'always';

  constructor(
    private readonly culling: Culling,
    private readonly front: Front,
    private readonly language: ILanguage,
    open: () => void
  ) {
    super();
    this.addClass('jp-CullingManager-countdown');
    this.button = document.createElement('button');
    this.button.id = 'culling-manager-countdown';
    this.button.type = 'button';
    this.button.addEventListener('click', open);
    this.node.append(this.button);
    culling.changed.connect(this.refresh, this);
    front.changed.connect(this.refresh, this);
    document.addEventListener('visibilitychange', this.refresh);
    this.refresh();
  }

  dispose(): void {
    clearTimeout(this.timer);
    document.removeEventListener('visibilitychange', this.refresh);
    super.dispose();
  }

  /** Show what holds now, and come back when it reads differently. */
  readonly refresh = (): void => {
    clearTimeout(this.timer);
    if (this.isDisposed || document.hidden) {
      return;
    }
    const shown = countdown(this.culling.seen, this.front.current, this.language);
    const hidden = shown === null || this.when === 'never' || (this.when === 'near' && shown.level === 'plain');
    this.setHidden(hidden);
    if (shown === null || hidden) {
      this.button.textContent = '';
    } else {
      this.button.textContent = shown.text;
      this.button.dataset.level = shown.level;
      this.button.title = this.language.trans.__('%1: show what stops when', shown.text);
    }
    if (shown !== null && shown.left.length > 0) {
      this.timer = window.setTimeout(this.refresh, nextTick(shown.left));
    }
  };

  private readonly button: HTMLButtonElement;
  private timer = 0;
}
