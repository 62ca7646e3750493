/** What the server says, as it says it. Only types: nothing here is in what is built. */

/** What an entry is about. */
export type Kind = 'kernel' | 'terminal' | 'app';

/** One kernel, terminal or app in the state document. */
export interface IEntry {
  id: string;
  name: string;
  state: string | null;
  /** The document of a kernel, as Jupyter's sessions have it. */
  path?: string | null;
  session_name?: string | null;
  /** What runs in a terminal. */
  runs?: string | null;
  /** Of an app. */
  type?: string;
  error?: string | null;
  used_by: string | null;
  kept_until: string | null;
  idle_seconds: number | null;
  decision: 'keep' | 'cull';
  reason: string;
  detail: string;
  due_at: string | null;
  warned: boolean;
}

/** An entry that knows what it is. */
export interface IItem extends IEntry {
  kind: Kind;
}

/** What came of one decision to stop something. */
export interface IOutcome {
  kind: Kind;
  identity: string;
  result: string;
  reason: string;
  idle_seconds: number | null;
  at: string;
  message: string;
  path?: string | null;
  session_name?: string | null;
}

/** One request that something is kept. */
export interface IRequest {
  kind: Kind | 'all';
  id: string | null;
  until: string;
  asked_by: string;
  /** The name of a lease, which a program renews. */
  lease?: string | null;
}

/** Why the last server ended its own app. */
export interface IPreviousStop {
  at: string;
  name?: string | null;
  app_type?: string | null;
  detail?: string | null;
  idle_seconds?: number | null;
}

/** The numbers that decide, as far as a page wants to know them; seconds. */
export interface IPolicy {
  idle_timeout: number;
  warn_before: number;
  max_keep_alive: number;
  dry_run: boolean;
}

/** For how long apps did not run because they were stopped. */
export interface IGivenBack {
  since: string;
  stops: number;
  at_least_seconds: number;
  at_most_seconds: number;
}

/** The state document. */
export interface IStatus {
  now: string;
  watching: Kind[];
  policy: IPolicy | null;
  errors: { subject: string; message: string; last_at: string; active: boolean }[];
  notices: string[];
  keep_alive: IRequest[];
  kernels: IEntry[];
  terminals: IEntry[];
  apps: IEntry[];
  recent: IOutcome[];
  /** Whether the server wants to hear that somebody works in a document. */
  presence?: boolean;
  previous_stop?: IPreviousStop | null;
  given_back?: IGivenBack | null;
}

/** What users may set; `idle_time` in seconds, bounds in minutes. */
export interface ISettings {
  idle_time: number;
  keep_terminals: boolean;
  saved: object | null;
  bounds: { min_idle_timeout: number; max_idle_timeout: number; keep_terminals: 'free' | 'fixed' };
}

/** An event of ours on the server's bus. */
export interface IHappening {
  schema_id: string;
  action: string;
  [name: string]: unknown;
}
