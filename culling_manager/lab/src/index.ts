/** The extension for JupyterLab and Notebook: joins the parts. */
import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget } from '@jupyterlab/apputils';
import { IMainMenu } from '@jupyterlab/mainmenu';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import type { IItem } from './documents';
import { documents, Front, pathOf, sessionOf } from './front';
import { clockIcon } from './icon';
import { Culling, type IStop } from './model';
import { CullingPanel, type IDeeds } from './panel';
import { Presence } from './presence';
import { RunningSection } from './running';
import { frontItem } from './states';
import { Countdown, type When } from './status';
import { translated } from './titles';
import { askUntil } from './until';
import { Warnings } from './warnings';
import { type ILanguage, what } from './words';

const ID = 'culling-manager:plugin';
const OPEN = 'culling-manager:open';
const KEEP = 'culling-manager:keep-alive';
const RESUME = 'culling-manager:resume';
/** Right of everything that Notebook puts into its menu bar. */
const MENU_RANK = 10_005;

/** The parts of one page. */
class Page {
  readonly culling: Culling;
  readonly front: Front;
  readonly warnings: Warnings;
  readonly countdown: Countdown;
  readonly presence: Presence;
  readonly panel: CullingPanel;
  readonly deeds: IDeeds;

  constructor(
    readonly app: JupyterFrontEnd,
    readonly language: ILanguage,
    readonly lab: ILabShell | null
  ) {
    this.culling = new Culling(app.serviceManager);
    this.front = new Front(app);
    this.warnings = new Warnings(this.culling, language, stop => this.restart(stop));
    this.deeds = {
      open: item => void this.open(item),
      until: item => void this.until(item),
      complain: error => this.warnings.complain(error)
    };
    this.panel = this.newPanel('culling-manager-panel');
    this.countdown = new Countdown(this.culling, this.front, language, () => this.show());
    this.presence = new Presence(app, this.culling);
  }

  newPanel(id: string): CullingPanel {
    const panel = new CullingPanel({ culling: this.culling, language: this.language, deeds: this.deeds });
    panel.id = id;
    panel.title.icon = clockIcon;
    panel.title.caption = this.language.trans.__('Idle shutdown');
    return panel;
  }

  /** Open the panel at the right, and move the focus into it. */
  show(): void {
    this.app.shell.activateById(this.panel.id);
    this.panel.activate();
  }

  /** Open the panel as a tab of its own; only JupyterLab has those. */
  showInMain(): void {
    const widget = new MainAreaWidget({ content: this.newPanel('culling-manager-panel-main') });
    widget.id = 'culling-manager-main';
    widget.title.label = this.language.trans.__('Idle shutdown');
    widget.title.icon = clockIcon;
    const known = documents(this.app).find(each => each.id === widget.id);
    if (known === undefined) {
      this.app.shell.add(widget, 'main');
    } else {
      widget.dispose();
    }
    this.app.shell.activateById(widget.id);
  }

  /** What a command is about: what its arguments name, else what is in front. */
  meant(args: { kind?: unknown; id?: unknown }): IItem | null {
    const { status } = this.culling;
    if (typeof args.kind === 'string' && typeof args.id === 'string') {
      return this.culling.known(args.kind, args.id);
    }
    return status === null ? null : frontItem(status, this.front.current);
  }

  /** Ask until when something (null: everything) is to be kept, and keep it. */
  async until(item: IItem | null): Promise<void> {
    const { culling, language } = this;
    const bound = culling.status?.policy?.max_keep_alive ?? 0;
    const label = item === null ? language.trans.__('everything') : what(item, language);
    const how = await askUntil(label, bound, () => culling.now, language);
    if (how !== null) {
      const asked = culling.server.keep(item?.kind ?? 'all', item?.id ?? null, how);
      await culling.act(asked).catch(this.deeds.complain);
    }
  }

  async open(item: IItem): Promise<void> {
    const open = documents(this.app).find(widget => sessionOf(widget)?.session?.kernel?.id === item.id);
    if (open !== undefined) {
      this.app.shell.activateById(open.id);
    } else if (item.kind === 'terminal') {
      await this.app.commands.execute('terminal:open', { name: item.id });
    } else if (item.path) {
      await this.app.commands.execute('docmanager:open', { path: item.path });
    } else {
      this.show();
    }
  }

  /** How to start a new kernel for what was stopped; null when its document is not open. */
  restart(stop: IStop): (() => Promise<void>) | null {
    const path = stop.item?.path ?? stop.outcome.name;
    const widget =
      path === null ? undefined : documents(this.app).find(each => pathOf(each) === path && sessionOf(each));
    const session = sessionOf(widget ?? null);
    if (widget === undefined || session === null) {
      return null;
    }
    const kernel = stop.item?.name || session.kernelPreference.name;
    return async () => {
      this.app.shell.activateById(widget.id);
      // The session is gone with its kernel: to change the kernel of what is not there gets a 404.
      await session.shutdown().catch(() => console.debug('culling-manager: the session had gone already.'));
      await session.changeKernel(kernel ? { name: kernel } : {});
    };
  }
}

function addCommands(page: Page, palette: ICommandPalette | null, menu: IMainMenu | null): void {
  const { app, culling, language, lab } = page;
  const { trans } = language;
  const asked = (item: IItem | null) =>
    culling.status?.keep_alive.find(each => each.kind === item?.kind && each.id === item?.id) ?? null;
  app.commands.addCommand(OPEN, {
    label: args =>
      args.area === 'main' ? trans.__('Show What Stops When in a Tab') : trans.__('Show What Stops When'),
    icon: args => (args.isPalette ? undefined : clockIcon),
    isVisible: () => culling.available,
    execute: args => (args.area === 'main' && lab !== null ? page.showInMain() : page.show())
  });
  app.commands.addCommand(KEEP, {
    label: args => (args.all ? trans.__('Keep Everything Alive…') : trans.__('Keep Kernel Alive…')),
    isVisible: () => culling.available,
    isEnabled: args => culling.mayWrite && (args.all === true || page.meant(args) !== null),
    execute: args => page.until(args.all === true ? null : page.meant(args))
  });
  app.commands.addCommand(RESUME, {
    label: trans.__('Resume Idle Shutdown of Kernel'),
    isVisible: () => culling.available,
    isEnabled: args => culling.mayWrite && asked(page.meant(args)) !== null,
    execute: async args => {
      const request = asked(page.meant(args));
      if (request !== null) {
        await culling.act(culling.server.resume(request)).catch(page.deeds.complain);
      }
    }
  });
  const category = trans.__('Idle Shutdown');
  palette?.addItem({ command: OPEN, category, args: { isPalette: true } });
  if (lab !== null) {
    palette?.addItem({ command: OPEN, category, args: { isPalette: true, area: 'main' } });
  }
  palette?.addItem({ command: KEEP, category });
  palette?.addItem({ command: KEEP, category, args: { all: true } });
  palette?.addItem({ command: RESUME, category });
  menu?.kernelMenu.addGroup([{ command: KEEP }, { command: RESUME }], 100);
  page.front.changed.connect(() => app.commands.notifyCommandChanged());
}

async function followSettings(page: Page, registry: ISettingRegistry): Promise<void> {
  const settings = await registry.load(ID);
  const take = () => {
    page.countdown.when = settings.composite.countdown as When;
    page.warnings.on = settings.composite.warnings !== false;
    page.presence.on = settings.composite.presence !== false;
    page.countdown.refresh();
  };
  settings.changed.connect(take);
  take();
}

/** Where a server has no handlers of ours, or not for this user, the panel's tab is not there either. */
function placePanel(page: Page, restorer: ILayoutRestorer | null): void {
  const { app, culling, panel } = page;
  const place = () => {
    if (culling.available && culling.status !== null && !panel.isAttached) {
      app.shell.add(panel, 'right', { rank: 900, type: 'Idle Shutdown' });
    } else if (!culling.available && panel.isAttached) {
      panel.parent = null;
    }
  };
  restorer?.add(panel, panel.id);
  culling.changed.connect(place);
  place();
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Shows what is about to be stopped for being idle, and keeps it.',
  autoStart: true,
  optional: [
    ...[ITranslator, ISettingRegistry, ILabShell, IStatusBar],
    ...[ICommandPalette, IMainMenu, IRunningSessionManagers, ILayoutRestorer]
  ],
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator | null,
    registry: ISettingRegistry | null,
    lab: ILabShell | null,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null,
    menu: IMainMenu | null,
    running: IRunningSessionManagers | null,
    restorer: ILayoutRestorer | null
  ) => {
    const trans = (translator ?? nullTranslator).load('culling_manager');
    const tag = (translator?.languageCode ?? 'en').replace('_', '-');
    registry?.transform(ID, {
      fetch: plugin => ({ ...plugin, schema: translated(plugin.schema, text => trans.gettext(text)) })
    });
    const page = new Page(app, { trans, tag: tag === 'en' ? navigator.language : tag }, lab);
    if (!page.culling.available) {
      return;
    }
    if (statusBar !== null && lab !== null) {
      statusBar.registerStatusItem('culling-manager:countdown', { item: page.countdown, align: 'left', rank: 50 });
    } else {
      page.countdown.id = 'culling-manager-menu';
      app.shell.add(page.countdown, 'menu', { rank: MENU_RANK });
    }
    placePanel(page, restorer);
    addCommands(page, palette, menu);
    running?.add(new RunningSection(page.culling, page.language, page.deeds));
    if (registry !== null) {
      followSettings(page, registry).catch(error =>
        console.warn('culling-manager: its settings cannot be read.', error)
      );
    }
  }
};

export default plugin;
