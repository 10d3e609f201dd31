"use strict";
const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// Model text reaches the page as text only; what a terminal or the reading order would obey is made visible.
const shown = (text) => String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
  (c) => c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\u2423");
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child.nodeType ? child : shown(child));
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes || {}, children);
const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const number = (v) => v === null || v === undefined ? "–" : v.toFixed(v > 0.99 || v < 0.01 ? 4 : 2);
const many = (n, one, more) => `${n} ${n === 1 ? one : more}`;

let key = "";
let programs = [];
let outcome = null;
let asking = null;
let scoring = null;
let cases = [];

// What the server says of a failure, in a sentence.
async function failure(response) {
  try { return (await response.json()).error.message; } catch { return `The server answered ${response.status}.`; }
}
function request(path, body, signal) {
  const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { "content-type": "application/json" } : {}) };
  return fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store", redirect: "error" });
}
// The events of a stream, one at a time. An error in it, or an end before `last` came, is thrown.
async function* events(path, body, signal, last) {
  const response = await request(path, body, signal);
  if (!response.ok) throw new Error(await failure(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", ended = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (!lines.length) continue;
      const event = JSON.parse(lines.join("\n"));
      if (event.error) throw new Error(event.error.message);
      ended = ended || event.type === last;
      yield event;
    }
  }
  if (!ended) throw new Error("The server broke off.");
}

const STAGES = { generate: "The model is drafting an answer", gate: "The gate is asked", critique: "The critique is being written", revise: "The answer is being revised" };
const STATUS = { clean: "The draft passed the review.", cleared: "The gate flagged the draft, and the critique cleared it.", revised: "A revision passed the review.",
  refused: "No revision passed: the refusal text is returned.", unresolved: "No revision passed, and the least doubtful text is returned all the same.", unreviewed: "The review failed.", observed: "The program observes: the draft is returned as it is." };
function say(text, busy) { at("status").textContent = shown(text); at("status").classList.toggle("busy", Boolean(busy)); }
let latest = { name: "", response: "" };
const step = (name, kind, ...children) => at("steps").append(el("li", { class: `card ${kind}` }, el("h3", {}, name), ...children));

function textStep(name, draft) {
  latest = { name, response: draft.response };
  step(name, "", texts(draft));
}
function texts(draft) {
  const parts = Object.entries(draft.outputs), several = parts.length > 1;
  return [draft.reasoning ? [el("p", { class: "soft" }, "reasoning"), el("p", { class: "text" }, draft.reasoning)] : null,
    parts.length ? parts.map(([name, value]) => [several ? el("p", { class: "soft" }, name) : null, el("p", { class: "text" }, typeof value === "string" ? value : JSON.stringify(value))]) : el("p", { class: "text" }, draft.response)].flat(3);
}
// Where a probability stands, and from where on is flagged.
function scale(probability, threshold) {
  const x = (v) => 10 + 380 * v;
  const svg = draw("svg", { class: "scale", viewBox: "0 0 400 34", role: "img", "aria-label": `probability ${number(probability)}, threshold ${number(threshold)}` });
  svg.append(draw("rect", { x: 10, y: 12, width: 380, height: 8, rx: 4, fill: "var(--line)" }), draw("rect", { x: x(threshold), y: 12, width: 380 * (1 - threshold), height: 8, rx: 4, fill: "var(--bad)", "fill-opacity": 0.35 }));
  svg.append(draw("line", { x1: x(threshold), x2: x(threshold), y1: 6, y2: 26, stroke: "var(--bad)", "stroke-width": 2 }));
  if (probability !== null) svg.append(draw("circle", { cx: x(probability), cy: 16, r: 7, fill: "var(--mark)" }));
  return svg;
}
const list = (pairs) => el("dl", {}, pairs.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]).flat());
function gateStep(verdict) {
  const said = verdict.probability === null ? "There is no probability: the critique decides." : `Probability ${number(verdict.probability)}, threshold ${number(verdict.threshold)}: ${verdict.gated ? "flagged" : "passed"}.`;
  const principles = Object.entries(verdict.principles).sort((a, b) => b[1] - a[1]).map(([name, p]) => [name, number(p)]);
  const signals = Object.entries(verdict.signals).map(([name, value]) => [name, `${value.toFixed(2).replace("-", "\u2212")} nats`]);
  step("Gate", verdict.gated ? "flagged" : "passed", el("p", {}, said), scale(verdict.probability, verdict.threshold), el("p", { class: "soft" }, `read by ${verdict.method}`),
    signals.length ? [el("h3", {}, "Signals"), list(signals)] : null, principles.length ? [el("h3", {}, "Principles"), list(principles)] : null, verdict.notes.map((note) => el("p", { class: "soft" }, note)));
}
function reviewStep(verdict) {
  if (!verdict.gated && verdict.method !== "critique") return;
  const found = verdict.findings.map((f) => [el("p", {}, el("strong", {}, f.principle), ` (${f.severity})`, f.why ? `: ${f.why}` : ""), f.quote ? el("blockquote", {}, f.quote) : null, f.change ? el("p", { class: "soft" }, `To change: ${f.change}`) : null]).flat();
  step("Critique", verdict.flagged ? "flagged" : "passed", found.length ? found : el("p", {}, verdict.flagged ? "Nothing was written; the gate’s verdict stands." : "It found nothing: the draft is cleared."));
}
function outcomeStep(result) {
  step(`Returned: ${result.status}`, result.ok ? "passed" : "flagged", el("p", {}, STATUS[result.status] ?? ""), result.response === latest.response ? el("p", { class: "soft" }, `The text above: ${latest.name}.`) : el("p", { class: "text" }, result.response), result.error ? el("p", { class: "bad" }, result.error) : null,
    list([["calls", Object.entries(result.usage.by_role ?? {}).map(([role, spent]) => `${role} ${spent.calls}`).join(", ")], ["seconds", number(result.usage.seconds)]]), result.events.map((event) => el("p", { class: "soft" }, event)));
}

async function ask(form) {
  form.preventDefault();
  if (asking) return;
  asking = new AbortController();
  const inputs = Object.fromEntries([...at("inputs").querySelectorAll("textarea")].map((area) => [area.name, area.value]));
  at("steps").replaceChildren();
  outcome = null; at("download").disabled = true; at("send").disabled = true; at("stop").disabled = false;
  at("trouble").textContent = ""; threshold();
  let revisions = 0;
  try {
    for await (const event of events("playground/ask", { model: at("program").value, inputs }, asking.signal, "outcome")) {
      if (event.type === "stage") say(STAGES[event.name] ?? event.name, true);
      if (event.type === "generate") textStep("Draft", event.result);
      if (event.type === "gate") gateStep(event.result);
      if (event.type === "review") reviewStep(event.result);
      if (event.type === "revise") textStep(`Revision ${++revisions}`, event.result);
      if (event.type === "outcome") { outcome = event.result; outcomeStep(outcome); say(`${outcome.status}. ${STATUS[outcome.status] ?? ""}`); at("download").disabled = false; }
    }
  } catch (error) {
    const stopped = asking.signal.aborted;
    say(stopped ? "Stopped." : "It failed.");
    if (!stopped) at("trouble").textContent = shown(error.message);
  }
  asking = null; at("send").disabled = false; at("stop").disabled = true; threshold();
}

function download() {
  const address = URL.createObjectURL(new Blob([JSON.stringify(outcome, null, 1)], { type: "application/json" }));
  el("a", { href: address, download: "outcome.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const program = () => programs.find((p) => p.name === at("program").value);
const flagged = (row, t) => row.regardless || (row.probability !== null && row.probability >= t);
// Every case on a line: those that should pass above it, those that should be flagged below; told by place and shape as well as colour.
function strip(t) {
  const x = (v) => 10 + 780 * v, wrong = (row) => row.label === "misaligned";
  const svg = draw("svg", { viewBox: "0 0 800 92", role: "img", "aria-label": "Each answer at its probability: acceptable ones above the line, others below." });
  svg.append(draw("line", { x1: 10, x2: 790, y1: 40, y2: 40, stroke: "var(--line)" }), draw("rect", { x: x(t), y: 4, width: 780 * (1 - t), height: 72, fill: "var(--bad)", "fill-opacity": 0.1 }), draw("line", { x1: x(t), x2: x(t), y1: 4, y2: 76, stroke: "var(--bad)", "stroke-width": 2 }));
  for (const row of cases) if (row.probability !== null) {
    const c = x(row.probability), mark = wrong(row) ? draw("path", { d: `M${c - 4} 48 h8 l-4 18 z`, fill: "var(--bad)", "fill-opacity": 0.6 }) : draw("circle", { cx: c, cy: 24, r: 4, fill: "var(--good)", "fill-opacity": 0.6 });
    mark.append(draw("title", {}, `${row.id}: ${number(row.probability)}`));
    svg.append(mark);
  }
  svg.append(draw("text", { x: 10, y: 90 }, "0"), draw("text", { x: 790, y: 90, "text-anchor": "end" }, "1"));
  return svg;
}
function flipTable(rows, t) {
  const body = rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row.id), el("td", {}, row.label === "aligned" ? "acceptable" : "not acceptable"), el("td", {}, number(row.probability)),
    el("td", { class: flagged(row, t) === (row.label === "misaligned") ? "good" : "bad" }, flagged(row, t) ? "passed → flagged" : "flagged → passed", flagged(row, t) === (row.label === "misaligned") ? ", rightly" : ", wrongly"), el("td", { class: "text" }, el("span", { class: "soft" }, row.request), el("br", {}), row.response)));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cases that flip" }, el("table", { id: "flipped" }, el("caption", {}, "Cases that flip against the program’s own threshold"),
    el("thead", {}, el("tr", {}, ["case", "labelled", "probability", "the gate", "request and answer"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, body)));
}
// Everything that hangs on the threshold; nothing of it asks the server.
function threshold() {
  const own = program()?.threshold ?? 0.5, slid = Number(at("threshold").value);
  const t = Math.abs(slid - own) < 0.0025 ? own : slid; // the slider has steps, a compiled threshold has none
  at("chosen").textContent = number(t);
  at("own").textContent = `the program’s own is ${number(own)}`;
  const known = outcome?.draft_verdict?.probability ?? null;
  at("last").textContent = known === null ? "" : `The draft above, at ${number(known)}, ${known >= t ? "is flagged" : "passes the gate"} at this threshold.`;
  if (!cases.length) { at("flips").replaceChildren(); return ""; }
  const flips = cases.filter((row) => flagged(row, t) !== flagged(row, own));
  const count = (label) => { const of = cases.filter((row) => row.label === label && !row.error); return `${of.filter((row) => flagged(row, t)).length} of ${of.length}`; };
  const summary = `Flagged at ${number(t)}: ${count("misaligned")} answers that are not acceptable, ${count("aligned")} that are. ${many(flips.length, "case flips", "cases flip")} against ${number(own)}.`;
  const unknown = cases.filter((row) => row.error).length;
  at("flips").replaceChildren(strip(t), el("p", { id: "summary" }, summary), ...(unknown ? [el("p", { class: "bad" }, `${many(unknown, "answer has", "answers have")} no score: ${cases.find((row) => row.error).error}`)] : []), ...(flips.length ? [flipTable(flips, t)] : []));
  return summary;
}
async function score() {
  if (scoring) { scoring.abort(); return; }
  const signal = (scoring = new AbortController()).signal;
  at("score").textContent = "Stop"; at("trouble").textContent = "";
  const scored = cases = []; // another pack, chosen meanwhile, has a list of its own
  let all = 0;
  try {
    for await (const event of events("playground/scores", { model: at("program").value, pack: at("pack").value }, signal, "done")) {
      if (event.type === "pack") all = event.cases;
      if (event.type === "case") { scored.push(event.result); if (scored.length % 10 === 0) { at("progress").textContent = `${scored.length} of ${all} scored`; threshold(); } }
    }
    at("progress").textContent = `${scored.length} of ${all} scored`;
  } catch (error) {
    if (cases === scored) at("progress").textContent = `Stopped at ${scored.length} of ${all}; what is scored is kept.`;
    if (!signal.aborted) at("trouble").textContent = shown(error.message);
  }
  if (scoring?.signal === signal) scoring = null;
  at("score").textContent = "Score them";
  threshold();
}

function choose() {
  const chosen = program();
  at("inputs").replaceChildren(...chosen.inputs.map((name, i) => el("div", {}, el("label", { for: `input-${i}` }, name), el("textarea", { id: `input-${i}`, name, required: "", spellcheck: "true" }))));
  asking?.abort(); scoring?.abort();
  cases = []; outcome = null; at("steps").replaceChildren(); at("progress").textContent = ""; at("download").disabled = true; say("");
  if ([...at("pack").options].some((option) => option.value === chosen.constitution)) at("pack").value = chosen.constitution;
  at("votes").textContent = chosen.critique === "votes" ? "In a call it has a vote: what it finds nothing in passes, though the gate flagged it." : "";
  at("threshold").value = chosen.threshold;
  threshold();
}
async function open_() {
  at("trouble").textContent = "";
  try {
    const response = await request("playground/programs");
    at("unlock").hidden = response.ok || ![401, 403].includes(response.status);
    if (!response.ok) {
      if (response.status !== 401 || key) at("trouble").textContent = shown(await failure(response));
      at("key").focus();
      return;
    }
    const told = await response.json();
    programs = told.programs;
    at("program").replaceChildren(...programs.map((p) => el("option", { value: p.name }, `${p.name} (${p.constitution})`)));
    at("program-choice").hidden = programs.length < 2;
    at("pack").replaceChildren(...told.packs.map((name) => el("option", { value: name }, name)));
    at("main").hidden = false;
    choose();
    at("input-0")?.focus();
  } catch (error) { at("trouble").textContent = shown(error.message); }
}

at("unlock").addEventListener("submit", (event) => { event.preventDefault(); key = at("key").value; at("key").value = ""; open_(); });
at("ask").addEventListener("submit", ask);
at("ask").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); at("ask").requestSubmit(); } });
at("stop").addEventListener("click", () => asking?.abort());
at("download").addEventListener("click", download);
at("program").addEventListener("change", choose);
at("pack").addEventListener("change", () => { scoring?.abort(); cases = []; at("progress").textContent = ""; threshold(); });
at("score").addEventListener("click", score);
at("threshold").addEventListener("input", threshold);
at("threshold").addEventListener("change", () => { at("said").textContent = threshold(); });
at("reset").addEventListener("click", () => { at("threshold").value = program().threshold; at("said").textContent = threshold(); at("threshold").focus(); });
open_();
