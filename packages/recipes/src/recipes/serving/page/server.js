// What the page asks the server.

async function request(path, body, key, signal) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body) headers["content-type"] = "application/json";
  const method = body ? "POST" : "GET";
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
  if (!answer.ok) {
    const error = new Error((await answer.json().catch(() => null))?.error?.message ?? `status ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return answer;
}

export async function models(key) {
  const found = await (await request("v1/models", null, key)).json();
  return found.data.map((model) => model.id);
}

export async function views(model, picture, key) {
  return (await request("views", { model, picture }, key)).json();
}

export async function explain(model, picture, question, answer, key, signal) {
  return (await request("explain", { model, picture, question, answer }, key, signal)).json();
}

// Streams the answer into `take`, and returns the usage.
export async function ask(model, picture, question, key, signal, take) {
  const content = picture ? [{ type: "image_url", image_url: { url: picture } }] : [];
  content.push({ type: "text", text: question });
  const messages = [{ role: "user", content }];
  const options = { stream: true, stream_options: { include_usage: true } };
  const answer = await request("v1/chat/completions", { model, messages, ...options }, key, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let usage = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      usage = chunk.usage ?? usage;
      const piece = chunk.choices[0]?.delta.content;
      if (piece) take(piece);
    }
  }
  if (!usage) throw new Error("the answer was cut off: ask again");
  return usage;
}
