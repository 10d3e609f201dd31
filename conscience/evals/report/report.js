"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const SVG = "http://www.w3.org/2000/svg";

// Model text reaches the page as text only; what a terminal or the reading order would obey is made visible.
const shown = (text) => String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
  (c) => c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\u2423");
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) if (value !== null && value !== undefined) node.setAttribute(name, value);
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child.nodeType ? child : shown(child));
  return node;
}
function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = shown(text);
  return node;
}
function chart(width, height, title, description) {
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${description}` });
  svg.append(draw("title", {}, title), draw("desc", {}, description));
  return svg;
}
const percent = (v) => v === null || v === undefined ? "–" : `${(100 * v).toFixed(1)} %`;
const number = (v, digits = 2) => v === null || v === undefined ? "–" : v.toFixed(digits);
const range = (r) => !r || r.value === null ? "no cases" : `${percent(r.low)} to ${percent(r.high)}, n = ${r.n}`;
const span = (pair, digits = 2) => pair ? `${number(pair[0], digits)} to ${number(pair[1], digits)}` : "no cases";
const figure = (name, value, note) => el("div", { class: "card figure" }, el("small", {}, name), el("b", {}, value), el("small", {}, note));
const card = (name, ...children) => el("div", { class: "card" }, el("h3", {}, name), ...children);
function table(heads, rows) {
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))));
}

function axes(svg, x, y, size, left, below) {
  for (const t of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(draw("line", { x1: x, x2: x + size, y1: y + size * (1 - t), y2: y + size * (1 - t), stroke: "var(--line)" }));
    svg.append(draw("text", { x: x - 6, y: y + size * (1 - t) + 4, "text-anchor": "end" }, String(t)));
    svg.append(draw("text", { x: x + size * t, y: y + size + 15, "text-anchor": "middle" }, String(t)));
  }
  svg.append(draw("line", { x1: x, y1: y + size, x2: x + size, y2: y, stroke: "var(--soft)", "stroke-dasharray": "3 4" }));
  svg.append(draw("text", { x: x + size / 2, y: y + size + 32, "text-anchor": "middle" }, below));
  svg.append(draw("text", { transform: `translate(${x - 34} ${y + size / 2}) rotate(-90)`, "text-anchor": "middle" }, left));
}
function rocChart(r) {
  const svg = chart(300, 300, "ROC curve", `AUROC ${number(r.auroc)}; at its threshold recall ${percent(r.recall.value)} at ${percent(r.fpr.value)} false positives`);
  axes(svg, 44, 10, 240, "recall", "false positive rate");
  const points = r.roc.map(([a, b]) => `${44 + 240 * a},${250 - 240 * b}`).join(" ");
  svg.append(draw("polyline", { points, fill: "none", stroke: "var(--mark)", "stroke-width": 2 }));
  if (r.fpr.value !== null && r.recall.value !== null)
    svg.append(draw("circle", { cx: 44 + 240 * r.fpr.value, cy: 250 - 240 * r.recall.value, r: 6, fill: "var(--bad)" }));
  return svg;
}
function reliabilityChart(r) {
  const svg = chart(300, 300, "Reliability diagram", r.reliability.map((b) => `${b.count} cases at ${number(b.probability)}: ${percent(b.share)} misaligned`).join("; "));
  axes(svg, 44, 10, 240, "share misaligned", "probability");
  const most = Math.max(1, ...r.reliability.map((b) => b.count));
  for (const b of r.reliability) {
    const dot = draw("circle", { cx: 44 + 240 * b.probability, cy: 250 - 240 * b.share, r: 4 + 9 * Math.sqrt(b.count / most), fill: "var(--mark)", "fill-opacity": 0.65 });
    dot.append(draw("title", {}, `${b.count} cases`));
    svg.append(dot);
  }
  return svg;
}
function flipChart(flips) {
  const total = Math.max(1, Object.values(flips).reduce((a, b) => a + b, 0));
  const svg = chart(460, 220, "What became of the drafts", `wrong to right ${flips.wrong_right}, right to wrong ${flips.right_wrong}, right stayed ${flips.right_right}, wrong stayed ${flips.wrong_wrong}`);
  const height = 180, scale = (n) => height * n / total;
  const bands = [["right", "right", flips.right_right], ["right", "wrong", flips.right_wrong], ["wrong", "right", flips.wrong_right], ["wrong", "wrong", flips.wrong_wrong]];
  const left = { right: 10, wrong: 18 + scale(flips.right_right + flips.right_wrong) };
  const right = { right: 10, wrong: 18 + scale(flips.right_right + flips.wrong_right) };
  const colours = { "right right": "var(--good)", "wrong right": "var(--good)", "right wrong": "var(--bad)", "wrong wrong": "var(--soft)" };
  for (const [a, b, n] of bands) {
    const h = scale(n), y1 = left[a], y2 = right[b];
    if (n) svg.append(draw("path", { d: `M90 ${y1} C230 ${y1} 230 ${y2} 370 ${y2} L370 ${y2 + h} C230 ${y2 + h} 230 ${y1 + h} 90 ${y1 + h} Z`, fill: colours[`${a} ${b}`], "fill-opacity": a === b ? 0.28 : 0.75 }));
    left[a] += h; right[b] += h;
  }
  const before = [flips.right_right + flips.right_wrong, flips.wrong_right + flips.wrong_wrong], after = [flips.right_right + flips.wrong_right, flips.right_wrong + flips.wrong_wrong];
  [["right", 0], ["wrong", 1]].forEach(([name, i]) => {
    const y = (counts) => (i ? 18 + scale(counts[0]) : 10) + scale(counts[i]) / 2 + 4;
    svg.append(draw("text", { x: 84, y: y(before), "text-anchor": "end" }, `${name} ${before[i]}`), draw("text", { x: 376, y: y(after) }, `${name} ${after[i]}`));
  });
  svg.append(draw("text", { x: 84, y: 216, "text-anchor": "end" }, "draft"), draw("text", { x: 376, y: 216 }, "outcome"));
  return svg;
}
function refusalChart(refusals) {
  const bars = Object.entries(refusals).flatMap(([kind, r]) => [[`${kind}, before`, r.before, kind], [`${kind}, after`, r.after, kind]]);
  const svg = chart(460, 34 * bars.length + 16, "Refusals", bars.map(([n, r]) => `${n} ${percent(r.value)}`).join("; "));
  bars.forEach(([name, rate, kind], i) => {
    const y = 8 + 34 * i, x = (v) => 120 + 260 * v;
    svg.append(draw("text", { x: 112, y: y + 16, "text-anchor": "end" }, name));
    svg.append(draw("rect", { x: 120, y: y + 3, width: 260 * (rate.value || 0), height: 18, rx: 3, fill: kind === "safe" ? "var(--bad)" : "var(--good)", "fill-opacity": 0.7 }));
    svg.append(draw("line", { x1: x(rate.low), x2: x(rate.high), y1: y + 12, y2: y + 12, stroke: "var(--ink)" }));
    svg.append(draw("text", { x: 392, y: y + 16 }, percent(rate.value)));
  });
  return svg;
}

function words(before, after) {
  const a = String(before ?? "").split(/(\s+)/).slice(0, 1200), b = String(after ?? "").split(/(\s+)/).slice(0, 1200);
  const same = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--)
    same[i][j] = a[i] === b[j] ? same[i + 1][j + 1] + 1 : Math.max(same[i + 1][j], same[i][j + 1]);
  const out = el("div", { class: "text" });
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { out.append(shown(a[i])); i++; j++; }
    else if (j < b.length && (i === a.length || same[i][j + 1] >= same[i + 1][j])) out.append(el("ins", {}, b[j++]));
    else out.append(el("del", {}, a[i++]));
  }
  return out;
}
function verdictView(verdict) {
  const box = el("div", {});
  if (!verdict) return box;
  box.append(el("p", {}, `probability ${number(verdict.probability)}, threshold ${number(verdict.threshold)}, ${verdict.flagged ? "flagged" : "passed"} (${verdict.method})`));
  for (const [name, value] of Object.entries(verdict.signals || {})) {
    const wide = Math.min(50, Math.abs(value) / 8 * 50), bar = el("i", {});
    bar.style.left = `${value < 0 ? 50 - wide : 50}%`; bar.style.width = `${wide}%`;
    box.append(el("div", { class: "signal" }, el("span", {}, name), el("div", { class: "track" }, bar), el("span", {}, number(value))));
  }
  for (const f of verdict.findings || []) box.append(el("p", {}, el("b", {}, f.principle), ` “${shown(f.quote)}” ${shown(f.why)} ${shown(f.change)}`));
  for (const note of verdict.notes || []) box.append(el("p", { class: "soft" }, note));
  return box;
}
function detail(row) {
  const part = (name, ...children) => [el("div", { class: "label" }, name), ...children];
  const text = (value) => el("div", { class: "text" }, value);
  if (row.error) return el("td", { colspan: 7 }, part("error", text(row.error)));
  const draft = row.draft || {}, outcome = row.outcome, spent = row.usage ? `${number(row.usage.seconds)} s, ${row.usage.calls} calls, ${row.usage.tokens} tokens` : "";
  const revisions = (row.revisions || []).flatMap((r, i) => [...part(`revision ${i + 1}, against the draft`, words(draft.text, r.response)), verdictView(r.verdict)]);
  return el("td", { colspan: 7 }, part("request", text(row.request)), row.reasoning ? part("reasoning", text(row.reasoning)) : null,
    part("draft", text(draft.text ?? "(not shown: it was not reviewed)"), draft.reason ? el("p", { class: "soft" }, draft.reason) : null), part("verdict", verdictView(row.verdict)), revisions,
    outcome && outcome.text !== draft.text && !(row.revisions || []).some((r) => r.response === outcome.text) ? part("returned", text(outcome.text)) : null,
    outcome && outcome.reason ? part("judged", el("p", {}, outcome.reason)) : null, part("cost", el("p", {}, spent)));
}
const ok = (graded) => graded ? graded.ok : null;
const KINDS = { all: () => true, corrected: (r) => ok(r.draft) === false && ok(r.outcome) === true, spoiled: (r) => ok(r.draft) === true && ok(r.outcome) === false,
  "false alarm": (r) => r.misaligned === false && r.flagged, missed: (r) => r.misaligned === true && !r.flagged, flagged: (r) => r.flagged, refused: (r) => r.status === "refused",
  unresolved: (r) => r.status === "unresolved", revised: (r) => r.status === "revised", unreviewed: (r) => r.status === "unreviewed", error: (r) => Boolean(r.error) };
function casesTable(rows, streamed) {
  const found = (name) => streamed ? streamed.found[name] || 0 : rows.filter(KINDS[name]).length;
  const search = el("input", { type: "search", placeholder: "Search requests, drafts, ids", "aria-label": "Search cases", id: "search" });
  const kind = el("select", { "aria-label": "Which cases", id: "kind" }, Object.keys(KINDS).map((name) => el("option", { value: name }, `${name} (${found(name)})`)));
  const count = el("span", { class: "soft", id: "count" }), body = el("tbody", {}), more = el("button", { id: "more" }, "Show more");
  const mark = (right) => right === null || right === undefined ? "–" : el("span", { class: right ? "good" : "bad" }, right ? "right" : "wrong");
  let hits = [], visible = 0;
  function toggle(line, row) {
    const next = line.nextSibling;
    if (next && next.className === "detail") { next.remove(); line.setAttribute("aria-expanded", "false"); return; }
    line.after(el("tr", { class: "detail" }, detail(row))); line.setAttribute("aria-expanded", "true");
  }
  function extend() {
    for (const row of hits.slice(visible, visible + 100)) {
      const line = el("tr", { class: "row", tabindex: 0, "aria-expanded": "false" }, el("td", {}, row.id), el("td", {}, row.group ?? ""), el("td", {}, row.expected ?? ""),
        el("td", {}, mark(row.error ? null : row.misaligned === null || row.misaligned === undefined ? null : !row.misaligned)), el("td", {}, row.error ? "error" : row.status ?? (row.flagged ? "flagged" : "passed")),
        el("td", {}, number(row.verdict ? row.verdict.probability : null)), el("td", {}, mark(ok(row.outcome))));
      line.addEventListener("click", () => toggle(line, row));
      line.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); toggle(line, row); } });
      body.append(line);
    }
    visible = Math.min(hits.length, visible + 100);
    count.textContent = `${hits.length} of ${rows.length} cases` + (streamed ? ` on this page; ${streamed.found.all} are in the run's folder` : "");
    more.hidden = visible >= hits.length;
  }
  function filter() {
    const wanted = search.value.toLowerCase(), fits = KINDS[kind.value];
    hits = rows.filter((r) => fits(r) && (!wanted || [r.id, r.group, r.request, r.draft && r.draft.text, r.outcome && r.outcome.text].some((t) => String(t ?? "").toLowerCase().includes(wanted))));
    visible = 0; body.replaceChildren(); extend();
  }
  search.addEventListener("input", filter); kind.addEventListener("change", filter); more.addEventListener("click", extend);
  const heads = ["case", "group", "what is right", "draft", "status", "probability", "outcome"];
  const view = [el("div", { class: "tools" }, search, kind, count), el("div", { class: "scroll" }, el("table", { id: "cases" }, el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)))), body)), more];
  filter();
  return view;
}

function reportPage(report, rows) {
  const p = report.program, r = report.reviewer, c = report.correction, o = report.overhead, n = report.cases;
  const models = [...new Set(Object.values(p.roles || {}))].join(", ");
  main.append(el("h1", {}, report.title), el("p", { class: "soft" }, [p.name, models, p.constitution, `${n.done} cases`, report.made.slice(0, 16).replace("T", " ")].filter(Boolean).join(" · ")));
  if (report.claims.length) main.append(el("ul", { class: "claims" }, report.claims.map((claim) => el("li", {}, claim))));
  const heads = [];
  if (c) heads.push(figure("self-correction accuracy", `${percent(c.draft_accuracy.value)} → ${percent(c.self_correction_accuracy.value)}`, range(c.self_correction_accuracy)),
    figure("wrong drafts corrected (ECR)", percent(c.ecr.value), range(c.ecr)), figure("right drafts spoiled (EIR)", percent(c.eir.value), range(c.eir)),
    figure("net benefit", percent(c.net_benefit), c.net_benefit_interval ? `${percent(c.net_benefit_interval[0])} to ${percent(c.net_benefit_interval[1])}; ${c.worth_it === null ? "undecided" : c.worth_it ? "it pays" : "it does not pay"}` : "no cases"));
  if (r) heads.push(figure("recall", percent(r.recall.value), range(r.recall)), figure("false positive rate", percent(r.fpr.value), range(r.fpr)),
    figure("AUROC", number(r.auroc), `${span(r.auroc_interval)}; surface words ${report.lexical_baseline ? number(report.lexical_baseline.auroc) : "–"}`));
  if (o.latency_ratio) heads.push(figure("time, against the plain call", `× ${number(o.latency_ratio.p50)}`, `p95 × ${number(o.latency_ratio.p95)}; ${number(o.calls_per_case, 1)} calls a case`));
  main.append(el("h2", {}, "Headline"), el("div", { class: "grid" }, heads.length ? heads : el("p", { class: "soft" }, "nothing was measured")));
  const charts = [];
  if (r && r.roc.length) charts.push(card(`ROC, on ${r.on}`, rocChart(r), el("p", { class: "soft" }, `recall ${percent(r.recall_at_fpr_1)} at 1 % and ${percent(r.recall_at_fpr_5)} at 5 % false positives; the dot is the threshold in use`)));
  if (r && r.reliability.length) charts.push(card("Reliability", reliabilityChart(r), el("p", { class: "soft" }, `Brier ${number(r.brier, 3)}, ECE ${number(r.ece, 3)}`)));
  if (c) charts.push(card("What became of the drafts", flipChart(c.flips)));
  if (c && Object.keys(c.refusals).length) charts.push(card("Refusals of safe and unsafe requests", refusalChart(c.refusals)));
  if (charts.length) main.append(el("h2", {}, "Pictures"), el("div", { class: "grid wide" }, charts));
  main.append(el("h2", {}, "What it cost"), card("By role", table(["role", "calls", "tokens", "seconds", "dollars"], Object.entries(o.by_role).map(([role, s]) => [role, s.calls, s.tokens, number(s.seconds, 1), s.unpriced ? `${number(s.dollars, 4)} (${s.unpriced} calls without a price)` : number(s.dollars, 4)]))));
  if (report.groups.length) main.append(el("h2", {}, "Groups"), el("div", { class: "card" }, table(["group", "n", "AUROC", "recall", "FPR", "draft right", "outcome right"], report.groups.map((g) => [
    g.group + (report.worst_group && report.worst_group.group === g.group ? " (worst)" : ""), g.n, number(g.auroc), percent(g.recall.value), percent(g.fpr.value), percent(g.draft_accuracy.value), percent(g.self_correction_accuracy.value)]))));
  main.append(el("h2", {}, "Cases"), el("div", { class: "card" }, casesTable(rows, report.streamed)));
}
function comparisonPage(d) {
  const name = (side) => `${side.title} (${side.program.name}, ${[...new Set(Object.values(side.program.roles))].join(", ")})`;
  main.append(el("h1", {}, `${d.first.title} and ${d.second.title}`), el("p", { class: "soft" }, `${d.cases} cases in common; ${d.only_first} only in the first, ${d.only_second} only in the second`), el("p", {}, `first: ${name(d.first)}`), el("p", {}, `second: ${name(d.second)}`));
  main.append(el("h2", {}, "Figures"), el("div", { class: "card" }, table(["figure", "first", "second", "difference", "gained", "lost", "p"], d.figures.map((f) => [f.name, `${percent(f.first.value)} (${range(f.first)})`, `${percent(f.second.value)} (${range(f.second)})`,
    f.difference ? `${percent(f.difference.value)} (${percent(f.difference.low)} to ${percent(f.difference.high)})` : "–", f.gained, f.lost, f.p_value < 0.001 ? "< .001" : number(f.p_value, 3)]))));
  if (d.scores.length) main.append(el("div", { class: "card" }, table(["figure", "first", "second", "difference"], d.scores.map((s) => [s.name, ...[s.first, s.second, s.difference].map((e) => `${number(e.value, 3)} (${number(e.low, 3)} to ${number(e.high, 3)})`)]))));
  main.append(el("h2", {}, "What it cost"), el("div", { class: "card" }, table(["", "first", "second"], d.overhead.map((o) => [o.name, number(o.first, 4), number(o.second, 4)]))));
}
main.replaceChildren();
if (data.comparison) comparisonPage(data.comparison); else reportPage(data.report, data.rows);
