/** The dialog that asks until when something is to be kept. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import { choices, nextClock } from './states';
import { type ILanguage, keepFor } from './words';

/** Minutes, or an instant (ISO 8601); null when nothing was chosen. */
export type Until = number | string | null;

/** A choice of durations and a time of day. */
class Body extends Widget implements Dialog.IBodyWidget<Until> {
  constructor(
    bound: number,
    private readonly now: () => number,
    language: ILanguage
  ) {
    super();
    this.addClass('jp-CullingManager-until');
    for (const minutes of choices(bound)) {
      this.add(String(minutes), keepFor(minutes, language));
    }
    const label = this.add('until', language.trans.__('Until…'));
    this.time.type = 'time';
    this.time.setAttribute('aria-label', language.trans.__('Time of day'));
    this.time.value = new Date(now() + Math.min(2 * 3600, bound > 0 ? bound : Infinity) * 1000)
      .toTimeString()
      .slice(0, 5);
    this.time.addEventListener('focus', () => {
      (label.querySelector('input') as HTMLInputElement).checked = true;
    });
    label.append(' ', this.time);
    (this.node.querySelector('input') as HTMLInputElement).checked = true;
  }

  getValue(): Until {
    const chosen = this.node.querySelector<HTMLInputElement>('input[name="culling-manager-until"]:checked')?.value;
    if (chosen !== 'until') {
      return chosen === undefined ? null : Number(chosen);
    }
    const now = this.now();
    const at = nextClock(this.time.value, now);
    // the bound itself may be a moment ago by the minute that is shown
    return at === null ? null : new Date(at).toISOString();
  }

  private add(value: string, text: string): HTMLLabelElement {
    const label = document.createElement('label');
    const input = document.createElement('input');
    input.type = 'radio';
    input.name = 'culling-manager-until';
    input.value = value;
    label.append(input, ' ', text);
    this.node.append(label);
    return label;
  }

  private readonly time = document.createElement('input');
}

/** Ask; `what` names what it is about. */
export async function askUntil(what: string, bound: number, now: () => number, language: ILanguage): Promise<Until> {
  const { trans } = language;
  const found = await showDialog<Until>({
    title: trans.__('Keep %1', what),
    body: new Body(bound, now, language),
    buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Keep') })]
  });
  return found.button.accept ? found.value : null;
}
