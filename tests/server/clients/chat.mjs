// A chat with tools through OpenAI's client for Node, streamed; what came of it goes to stdout as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.MOA_URL, apiKey: process.env.MOA_KEY, maxRetries: 0 });
const tools = [
  {
    type: "function",
    function: {
      name: "count",
      parameters: { type: "object", properties: { start: { type: "integer" } }, required: ["start"] },
    },
  },
];
const messages = [{ role: "user", content: "Count on from 3." }];
const told = { models: [], pieces: 0, calls: [], usage: null, answer: "", error: null };

for await (const model of client.models.list()) told.models.push(model.id);

const first = client.chat.completions.stream({ model: "team", messages, tools });
const called = (await first.finalChatCompletion()).choices[0].message;
for (const call of called.tool_calls) {
  const { start } = JSON.parse(call.function.arguments);
  told.calls.push({ name: call.function.name, start });
  messages.push(called, { role: "tool", tool_call_id: call.id, content: `After ${start} comes ${start + 1}.` });
}

const second = await client.chat.completions.create({
  model: "team",
  messages,
  tools,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of second) {
  const piece = chunk.choices[0]?.delta?.content;
  if (piece) told.pieces += 1;
  told.answer += piece ?? "";
  told.usage = chunk.usage ?? told.usage;
}

try {
  await client.chat.completions.create({ model: "nobody", messages });
} catch (error) {
  told.error = { name: error.constructor.name, status: error.status, code: error.code, id: error.requestID };
}
console.log(JSON.stringify(told));
