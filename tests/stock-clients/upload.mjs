// Uploads one file with the npm package `ws` and nothing else, following docs/protocol.md; then downloads it and compares.
//
//     node upload.mjs http://127.0.0.1:8080 USER PASSWORD FILE

import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';

const STREAM = 1;
const FINAL_EVENTS = ['file.uploaded_successfully', 'file.upload_failed'];

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

function crc32c(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = CRC_TABLE[(c ^ byte) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** The binary message of one chunk. */
function frame(offset, payload) {
  const header = Buffer.alloc(20);
  header.writeUInt8(0x01, 0);
  header.writeUInt32BE(STREAM, 4);
  header.writeBigUInt64BE(BigInt(offset), 8);
  header.writeUInt32BE(crc32c(payload), 16);
  return Buffer.concat([header, payload]);
}

async function digestOf(stream) {
  const hash = createHash('sha256');
  for await (const bytes of stream) hash.update(bytes);
  return `sha256:${hash.digest('hex')}`;
}

async function post(method, url, body) {
  const response = await fetch(url, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

/** Signs up, or logs in if the name is taken. Returns the access token. */
async function tokenFor(server, user, password) {
  let answer = await post('POST', `${server}/auth/signup`, { user_name: user, password });
  if (answer.body.code === 'conflict') {
    answer = await post('PUT', `${server}/auth/login/${encodeURIComponent(user)}`, { password });
  }
  if (answer.status >= 300) throw new Error(`no token: ${JSON.stringify(answer.body)}`);
  return answer.body.access_token;
}

/** A connection whose messages are taken one at a time. */
class Session {
  #inbox = [];
  #waiting = null;
  #closed = null;

  constructor(server) {
    const url = `${server.replace(/^http/, 'ws')}/ws`;
    this.ws = new WebSocket(url, 'sluice.v1', { perMessageDeflate: false });
    this.ws.on('message', (data) => this.#deliver({ message: JSON.parse(data.toString()) }));
    this.ws.on('error', (error) => this.#deliver({ error }));
    this.ws.on('close', (code, reason) => this.#deliver({ error: new Error(`closed with ${code} ${reason}`) }));
    this.opened = new Promise((resolve, reject) => this.ws.once('open', resolve).once('error', reject));
  }

  #deliver(item) {
    if (item.error) this.#closed ??= item.error;
    else this.#inbox.push(item.message);
    this.#waiting?.();
  }

  async next() {
    while (this.#inbox.length === 0) {
      if (this.#closed) throw this.#closed;
      await new Promise((resolve) => (this.#waiting = resolve));
    }
    return this.#inbox.shift();
  }

  send(message) {
    this.ws.send(message instanceof Buffer ? message : JSON.stringify(message));
  }

  close() {
    this.ws.close();
  }
}

/** One upload on one session: what is sent, what is acknowledged, and what is known of its end. */
class Upload {
  sent = 0;
  acked = 0;
  requests = 1;
  completing = null;
  completed = null;
  outcomes = new Map();

  constructor(session, limits, handle, file) {
    Object.assign(this, { session, limits, handle, file });
    this.chunkBytes = limits.max_chunk_bytes;
    // What fits the window is sent without waiting for `transfer-started`.
    this.maySend = file.size <= limits.window_bytes;
  }

  async run() {
    const { name, size, key } = this.file;
    this.start = { type: 'start-transfer', id: ++this.requests, stream: STREAM, key, name, size };
    this.session.send(this.start);
    while (!this.completed) {
      await this.pump();
      await this.take(await this.session.next());
    }
    while (!this.outcomes.has(this.completed.file_id)) await this.take(await this.session.next());
    const { event, data } = this.outcomes.get(this.completed.file_id);
    if (event !== FINAL_EVENTS[0]) throw new Error(`not stored: ${data.reason}`);
    return this.completed;
  }

  /** Sends what the window allows, and the end when all is sent. */
  async pump() {
    const { size, digest } = this.file;
    while (this.maySend && this.completing === null) {
      if (this.sent === size) {
        this.completing = ++this.requests;
        this.session.send({ type: 'complete-upload', id: this.completing, stream: STREAM, digest });
        return;
      }
      const length = Math.min(this.chunkBytes, size - this.sent);
      if (this.sent + length - this.acked > this.limits.window_bytes) return;
      const { bytesRead, buffer } = await this.handle.read(Buffer.alloc(length), 0, length, this.sent);
      if (bytesRead !== length) throw new Error('the file has become shorter');
      this.session.send(frame(this.sent, buffer));
      this.sent += length;
    }
  }

  async take(message) {
    switch (message.type) {
      case 'transfer-started':
        if (message.status !== 'open') throw new Error(`the upload is ${message.status}`);
        this.chunkBytes = message.chunk_bytes;
        if (!this.maySend) this.sent = this.acked = message.offset;
        this.maySend = true;
        break;
      case 'chunk-acked':
        this.acked = Math.max(this.acked, message.offset);
        break;
      case 'upload-completed':
        this.completed = message;
        break;
      case 'notification':
        if (FINAL_EVENTS.includes(message.event)) this.outcomes.set(message.data.file_id, message);
        break;
      case 'error':
        await this.recover(message);
        break;
    }
  }

  /** After an error that can pass: waits if asked to, and goes on where the server says. */
  async recover(error) {
    if (!error.retryable) throw new Error(`refused: ${error.code} ${error.detail ?? ''}`);
    if (error.retry_after_ms) await sleep(error.retry_after_ms);
    if (error.id === this.start.id) {
      this.sent = this.acked = 0;
      this.completing = null;
      this.start.id = ++this.requests;
      this.session.send(this.start);
    } else if (error.id === undefined || error.id === this.completing) {
      this.sent = this.acked = error.expected ?? this.sent;
      this.completing = null;
    }
  }
}

async function main(server, user, password, path) {
  const token = await tokenFor(server, user, password);
  const digest = await digestOf(createReadStream(path));
  const handle = await open(path);
  const { size } = await handle.stat();

  const session = new Session(server);
  await session.opened;
  session.send({ type: 'connect', id: 1, access_token: token, client: { name: 'upload.mjs', version: '1' } });
  const connected = await session.next();
  if (connected.type !== 'connected') throw new Error(`not connected: ${JSON.stringify(connected)}`);
  const file = { name: basename(path), size, digest, key: randomUUID() };
  const completed = await new Upload(session, connected.limits, handle, file).run();
  session.close();
  await handle.close();
  if (completed.digest !== digest) throw new Error(`the server has ${completed.digest}, the file is ${digest}`);

  const content = await fetch(`${server}/api/v1/files/${completed.file_id}/content`, {
    headers: { authorization: `Bearer ${token}` },
  });
  if (!content.ok) throw new Error(`the download failed: ${content.status}`);
  const downloaded = await digestOf(content.body);
  if (downloaded !== digest) throw new Error(`downloaded ${downloaded}, sent ${digest}`);
  console.log(`${completed.file_id} ${digest}`);
}

if (process.argv.length !== 6) {
  console.error('usage: node upload.mjs SERVER USER PASSWORD FILE');
  process.exit(2);
}
main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
