// The server, as the page sees it.

export type State = 'waiting' | 'delayed' | 'running' | 'done' | 'dead' | 'cancelled';

export interface Job {
  id: string;
  state: State;
  kind: string;
  input: string;
  to: string;
  title: string | null;
  video: string | null;
  priority: number;
  encrypted: boolean;
  submitted: number;
  started: number | null;
  ended: number | null;
  attempt: number;
  worker: string | null;
  cancelling: boolean;
  progress: { download: number | null; encode: number | null; upload: number | null } | null;
  plan: string | null;
  note: string | null;
  error: string | null;
  bytes: number | null;
  media: string | null;
  version: number;
}

export interface WholeJob extends Job {
  result: Record<string, unknown> | null;
  log: { at: number; attempt: number; worker: string; what: string }[];
  options: Record<string, unknown>;
}

export interface Figures {
  downloaded: number;
  size: number | null;
  download_rate: number;
  seconds: number;
  encoded: number;
  encode_rate: number;
  uploaded: number;
  objects: [number, number];
  upload_rate: number;
  remaining: number | null;
}

export type Counts = Record<State, number>;

export interface Page {
  jobs: Job[];
  next: string | null;
  counts: Counts;
}

export interface Sample {
  at: number;
  cpu: number;
  download: number;
  upload: number;
  bytes_in: number;
  bytes_out: number;
  scratch: number;
  waiting: [number, number, number];
}

export interface Span {
  job: string;
  stage: 'download' | 'encode' | 'upload';
  from: number;
  to: number;
}

export interface Timeline {
  samples: Sample[];
  spans: Span[];
  bound: { what: 'idle' | 'cpu' | 'download' | 'upload' | 'none'; cpu: number; download: number; upload: number };
}

export interface Session {
  name: string;
  scopes: string[];
  open: boolean;
}

/** The server refused, and said why. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

/** Asks the server. Answers without a body are `null`. */
export async function ask<T>(path: string, method = 'GET', body?: unknown): Promise<T> {
  const response = await fetch(`/api/v1/${path}`, {
    method,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await response.text();
  let value: unknown = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new Refusal(response.status, 'the server gave an answer that is not JSON');
  }
  if (!response.ok) {
    const problem = value as { detail?: string; hint?: string } | null;
    const detail = problem?.detail ?? response.statusText;
    throw new Refusal(response.status, problem?.hint ? `${detail}: ${problem.hint}` : detail);
  }
  return value as T;
}

/** The words of an error. */
export const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
