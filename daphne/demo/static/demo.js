// The page's moving parts: the chat, the streamed response and the upload. Every address is relative, so that the
// page works below any root path.
"use strict";

const byId = (id) => document.getElementById(id);

function say(output, text, alarm = false) {
  output.textContent = text;
  output.classList.toggle("alarm", alarm);
}

// --- The chat ---------------------------------------------------------------------------------------------------

const chat = { socket: null, name: null, wait: 500 };

function note(text, who = null) {
  const line = document.createElement("li");
  if (who === null) {
    line.className = "note";
  } else {
    const name = document.createElement("b");
    name.textContent = who;
    line.append(name, " ");
  }
  line.append(text);
  const log = byId("chat-log");
  log.append(line);
  log.scrollTop = log.scrollHeight;
}

const heard = {
  welcome(line) {
    byId("chat-protocol").textContent = line.text + ".";
    say(byId("chat-state"), `${line.text}; process ${line.process}.`);
    allowTalk(true);
    chat.wait = 500;
    if (chat.name) {
      chat.socket.send(JSON.stringify({ name: chat.name }));
    } else {
      byId("chat-name").value = chat.name = line.name;
    }
  },
  joined: (line) => note(`${line.name} is here.`),
  left: (line) => note(`${line.name} has left.`),
  renamed: (line) => note(`${line.text} is now called ${line.name}.`),
  said: (line) => note(line.text, line.name),
  trouble: (line) => note(line.text),
};

function allowTalk(allowed) {
  byId("chat-text").disabled = byId("chat-form").querySelector("button").disabled = !allowed;
}

function connect() {
  const address = new URL("chat", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  chat.socket = new WebSocket(address);
  chat.socket.onmessage = (event) => {
    const line = JSON.parse(event.data);
    heard[line.kind](line);
  };
  chat.socket.onclose = (event) => {
    allowTalk(false);
    const why = event.reason ? `: ${event.reason}` : "";
    say(byId("chat-state"), `Closed (${event.code}${why}). Trying again…`, true);
    setTimeout(connect, chat.wait);
    chat.wait = Math.min(chat.wait * 2, 10000);
  };
}

byId("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("chat-text").value.trim();
  if (text) {
    chat.socket.send(JSON.stringify({ say: text }));
    byId("chat-text").value = "";
  }
});

byId("chat-name").addEventListener("change", () => {
  chat.name = byId("chat-name").value.trim() || chat.name;
  byId("chat-name").value = chat.name;
  if (chat.socket.readyState === WebSocket.OPEN) {
    chat.socket.send(JSON.stringify({ name: chat.name }));
  }
});

connect();

// --- The streamed response --------------------------------------------------------------------------------------

const TICKS = 40;
let stop = null;

function drawTicks() {
  byId("stream-ticks").replaceChildren(...Array.from({ length: TICKS }, () => document.createElement("i")));
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const parts = (rest + piece.value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

async function stream() {
  const boxes = byId("stream-ticks").children;
  const response = await fetch(`ticks?count=${TICKS}&interval=0.1`, { signal: stop.signal });
  if (!response.ok) throw new Error(`status ${response.status}`);
  for await (const text of lines(response.body)) {
    const tick = JSON.parse(text);
    boxes[tick.tick - 1].className = "on";
    say(byId("stream-state"), `${tick.tick} of ${tick.of}, after ${tick.seconds.toFixed(1)} s`);
  }
  say(byId("stream-state"), `All ${TICKS} have arrived.`);
}

byId("stream-start").addEventListener("click", async () => {
  drawTicks();
  stop = new AbortController();
  byId("stream-start").disabled = true;
  byId("stream-stop").disabled = false;
  try {
    await stream();
  } catch (error) {
    say(byId("stream-state"), error.name === "AbortError" ? "Stopped." : `It broke: ${error.message}`, true);
  }
  byId("stream-start").disabled = false;
  byId("stream-stop").disabled = true;
});

byId("stream-stop").addEventListener("click", () => stop.abort());

drawTicks();

// --- The upload -------------------------------------------------------------------------------------------------

const inMB = (bytes) => (bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1) + " MB";

byId("upload-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = byId("upload-file").files[0] ?? new Blob([new Uint8Array(20e6)]);
  const request = new XMLHttpRequest(); // fetch() does not tell how far an upload has come
  const output = byId("upload-state");
  request.upload.onprogress = (progress) => {
    byId("upload-progress").value = progress.loaded / progress.total;
    say(output, `${inMB(progress.loaded)} of ${inMB(progress.total)}`);
  };
  request.onload = () => {
    if (request.status !== 200) {
      say(output, `Refused with status ${request.status}.`, true);
      return;
    }
    const sums = JSON.parse(request.responseText);
    byId("upload-progress").value = 1;
    say(output, `The application counted ${sums.bytes} bytes in ${sums.pieces} pieces, ${sums.seconds} s. SHA-256 `);
    const digest = document.createElement("code");
    digest.textContent = sums.sha256;
    output.append(digest);
  };
  request.onerror = () => say(output, "The upload broke off.", true);
  request.open("POST", "upload");
  request.send(body);
});
