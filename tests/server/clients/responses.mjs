// Responses through OpenAI's client for Node, streamed and kept; what came of it goes to stdout as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.MOA_URL, apiKey: process.env.MOA_KEY, maxRetries: 0 });
const tools = [
  {
    type: "function",
    name: "count",
    strict: true,
    parameters: {
      type: "object",
      properties: { start: { type: "integer" } },
      required: ["start"],
      additionalProperties: false,
    },
  },
];
const told = { kinds: [], calls: [], answer: "", kept: "", aborted: false };

const first = client.responses.stream({ model: "team", input: "Count on from 3.", tools });
for await (const event of first) told.kinds.push(event.type);
const called = await first.finalResponse();
const outputs = called.output.map((call) => {
  const { start } = JSON.parse(call.arguments);
  told.calls.push({ name: call.name, start });
  return { type: "function_call_output", call_id: call.call_id, output: `After ${start} comes ${start + 1}.` };
});

const second = await client.responses.create({
  model: "team",
  input: outputs,
  tools,
  previous_response_id: called.id,
  stream: true,
});
let id = null;
for await (const event of second) {
  if (event.type === "response.output_text.delta") told.answer += event.delta;
  if (event.type === "response.completed") id = event.response.id;
}
told.kept = (await client.responses.retrieve(id)).output_text;

const endless = await client.responses.create({ model: "endless", input: "Why?", stream: true });
for await (const event of endless) {
  if (event.type === "response.output_text.delta") break; // hangs up
}
told.aborted = endless.controller.signal.aborted;
console.log(JSON.stringify(told));
