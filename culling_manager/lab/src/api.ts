/** How the server is asked. Looking never counts as use: each GET says so. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IRequest, ISettings, IStatus, Kind } from './documents';

/** The URL space of our handlers. */
const SPACE = 'sagemaker-studio-autoshutdown';
/** The name under which they are authorized. */
const RESOURCE = 'culling_manager';

/** The server answered, and it was a no; `message` is in its own words. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string
  ) {
    super(message);
  }
}

/** What a user may do. */
export interface IRights {
  read: boolean;
  write: boolean;
}

/** The server's handlers as functions. All raise `Refusal`, or another error when nobody answered. */
export class Server {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  status(): Promise<IStatus> {
    return this.ask(`${SPACE}/status`, 'GET');
  }

  limits(): Promise<ISettings> {
    return this.ask(`${SPACE}/settings`, 'GET');
  }

  /** Set the timeout (minutes); `save` makes it hold after a restart too. */
  async change(idle_time: number, keep_terminals: boolean | null, save: boolean): Promise<void> {
    const lasting = keep_terminals === null ? {} : { keep_terminals };
    await this.ask(`${SPACE}/settings`, 'POST', { idle_time, save, ...lasting });
  }

  async reset(): Promise<void> {
    await this.ask(`${SPACE}/settings`, 'DELETE');
  }

  /** Keep something for some minutes, or until an instant (ISO 8601). */
  async keep(kind: Kind | 'all', id: string | null, how: number | string): Promise<void> {
    const whom = id === null ? { kind } : { kind, id };
    const end = typeof how === 'number' ? { duration: how } : { until: how };
    await this.ask(`${SPACE}/keep-alive`, 'POST', { ...whom, ...end });
  }

  /** Take that back. */
  async resume({ kind, id, lease }: Pick<IRequest, 'kind' | 'id' | 'lease'>): Promise<void> {
    const whom: Record<string, string> = lease ? { lease } : id === null ? { kind } : { kind, id };
    await this.ask(`${SPACE}/keep-alive${URLExt.objectToQueryString(whom)}`, 'DELETE');
  }

  /** Say that somebody works in a document. */
  async present(path: string): Promise<void> {
    await this.ask(`${SPACE}/presence`, 'POST', { path });
  }

  /** What this user may do; a server too old to say so means everything. */
  async rights(): Promise<IRights> {
    const wanted = JSON.stringify({ [RESOURCE]: ['read', 'write'] });
    const found = await this.ask<{ permissions?: Record<string, string[]> }>(
      `api/me?permissions=${encodeURIComponent(wanted)}`,
      'GET'
    );
    const granted = found.permissions?.[RESOURCE] ?? ['read', 'write'];
    return { read: granted.includes('read'), write: granted.includes('write') };
  }

  private async ask<T>(path: string, method: string, body?: object): Promise<T> {
    const quiet = method === 'GET' ? `${path.includes('?') ? '&' : '?'}no_track_activity=1` : '';
    const url = URLExt.join(this.settings.baseUrl, path) + quiet;
    const init = { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const response = await ServerConnection.makeRequest(url, init, this.settings);
    const text = await response.text();
    if (!response.ok) {
      throw new Refusal(response.status, messageIn(text) || `${response.status} ${response.statusText}`);
    }
    return (text ? JSON.parse(text) : null) as T;
  }
}

/** What an error's body says, where it says anything. */
function messageIn(text: string): string {
  try {
    return String(JSON.parse(text).message ?? '');
  } catch {
    return '';
  }
}
