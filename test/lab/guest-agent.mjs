// Runs inside a node of the lab, started by its init. It carries out what the host asks for over a virtio-serial port:
// commands, background processes, and connections to unix sockets. Not over the network: that is what scenarios cut.
//
// The protocol is one JSON object a line, both ways; binary data is base64. Each start of the agent has a session id,
// which the host repeats in every request: what was written for an agent that is gone is ignored.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { open, readFile, readdir } from 'node:fs/promises';
import { createConnection } from 'node:net';

const PORT_NAME = 'meshstor.agent';
const KILL_GRACE_MS = 1000;

const session = randomUUID();
const children = new Map();
const sockets = new Map();

async function findPort() {
  const root = '/sys/class/virtio-ports';
  for (const port of await readdir(root)) {
    if ((await readFile(`${root}/${port}/name`, 'utf8')).trim() === PORT_NAME) return `/dev/${port}`;
  }
  throw new Error(`no virtio port is called ${PORT_NAME}`);
}

const port = await open(await findPort(), 'r+');

let writing = Promise.resolve();
function send(message) {
  const line = Buffer.from(`${JSON.stringify({ session, ...message })}\n`);
  writing = writing.then(async () => {
    for (let sent = 0; sent < line.length;) {
      sent += (await port.write(line, sent, line.length - sent, null)).bytesWritten;
    }
  });
}

function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

function exec({ id, argv, env, cwd, stdin, timeoutMs }) {
  // A process group of its own, so that a time limit ends everything the command started.
  const child = spawn(argv[0], argv.slice(1), { cwd, env: { ...process.env, ...env }, detached: true });
  let timedOut = false;
  let ended = false;
  let timer;
  const finish = (code, signal) => {
    if (ended) return;
    ended = true;
    clearTimeout(timer);
    children.delete(id);
    send({ id, type: 'exit', code, signal, timedOut });
  };
  child.on('error', (error) => {
    if (ended) return;
    ended = true;
    children.delete(id);
    send({ id, type: 'error', message: error.message, code: error.code });
  });
  child.stdout.on('data', (data) => send({ id, type: 'stdout', data: data.toString('base64') }));
  child.stderr.on('data', (data) => send({ id, type: 'stderr', data: data.toString('base64') }));
  child.stdin.on('error', () => {}); // a command may end without reading its input
  child.stdin.end(stdin ? Buffer.from(stdin, 'base64') : undefined);
  if (child.pid === undefined) return;
  children.set(id, child.pid);
  send({ id, type: 'started', pid: child.pid });
  // 'close' comes when the output has ended; a background grandchild may hold it open, so do not wait long for it.
  child.on('exit', (code, signal) => setTimeout(finish, 1000, code, signal).unref());
  child.on('close', finish);
  if (!timeoutMs) return;
  timer = setTimeout(() => {
    timedOut = true;
    signalGroup(child.pid, 'SIGKILL');
    // A process in uninterruptible sleep does not die: answer all the same.
    timer = setTimeout(finish, KILL_GRACE_MS, null, 'SIGKILL');
  }, timeoutMs);
}

function connect({ id, path }) {
  const socket = createConnection({ path });
  sockets.set(id, socket);
  socket.on('data', (data) => send({ id, type: 'data', data: data.toString('base64') }));
  socket.on('error', () => {}); // 'close' follows
  socket.on('close', () => {
    sockets.delete(id);
    send({ id, type: 'closed' });
  });
}

const handlers = {
  hello: () => send({ type: 'hello' }),
  exec,
  connect,
  signal: ({ target, signal }) => {
    const pid = children.get(target);
    if (pid !== undefined) signalGroup(pid, signal);
  },
  data: ({ id, data }) => sockets.get(id)?.write(Buffer.from(data, 'base64')),
  close: ({ id }) => sockets.get(id)?.destroy(),
};

function handle(line) {
  let request;
  try {
    request = JSON.parse(line);
  } catch {
    return; // the rest of a line that was meant for an earlier agent
  }
  if (request.op !== 'hello' && request.session !== session) return;
  try {
    handlers[request.op](request);
  } catch (error) {
    send({ id: request.id, type: 'error', message: error.message, code: error.code });
  }
}

send({ type: 'hello' });
let pending = Buffer.alloc(0);
const chunk = Buffer.alloc(64 * 1024);
for (;;) {
  const { bytesRead } = await port.read(chunk, 0, chunk.length, null);
  if (bytesRead === 0) {
    // The host has hung up; it comes back.
    await new Promise((resolve) => setTimeout(resolve, 50));
    continue;
  }
  pending = Buffer.concat([pending, chunk.subarray(0, bytesRead)]);
  for (let end = pending.indexOf(10); end !== -1; end = pending.indexOf(10)) {
    handle(pending.subarray(0, end).toString());
    pending = pending.subarray(end + 1);
  }
}
