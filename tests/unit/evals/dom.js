"use strict";
// As much of a browser as the report's script needs: it draws into nodes that know their tags, attributes, children and text.
// Run with node: dom.js SCRIPT DATA.json. Prints what was drawn as JSON: {text, tags}.
const fs = require("fs");
class Node_ {
  constructor(tag) { this.tag = tag; this.nodeType = tag ? 1 : 3; this.children = []; this.attributes = {}; this.style = {}; this.listeners = {}; this.parent = null; }
  append(...nodes) { for (const node of nodes) this.children.push(attached(node, this)); }
  replaceChildren(...nodes) { this.children = []; this.append(...nodes); }
  after(node) { const at = this.parent.children.indexOf(this); this.parent.children.splice(at + 1, 0, attached(node, this.parent)); }
  remove() { this.parent.children.splice(this.parent.children.indexOf(this), 1); }
  setAttribute(name, value) { this.attributes[name] = String(value); if (name === "value" || name === "class") this[name === "class" ? "className" : name] = String(value); }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  get nextSibling() { return this.parent.children[this.parent.children.indexOf(this) + 1] || null; }
  get textContent() { return this.own !== undefined ? this.own : this.children.map((child) => child.textContent).join(""); }
  set textContent(text) { this.children = []; this.own = String(text); }
}
function attached(child, parent) {
  if (!(child instanceof Node_)) { const text = new Node_(""); text.own = String(child); child = text; }
  child.parent = parent;
  return child;
}
const [script, data] = process.argv.slice(2).map((path) => fs.readFileSync(path, "utf8"));
const places = { data: new Node_("script"), main: new Node_("main") };
places.data.textContent = data;
globalThis.document = { getElementById: (id) => places[id], createElement: (tag) => new Node_(tag), createElementNS: (_, tag) => new Node_(tag) };
// A select's value is that of its first option until somebody chooses another.
Object.defineProperty(Node_.prototype, "value", { configurable: true, get() { return this.tag === "select" ? this.children[0].attributes.value : this.given ?? ""; }, set(value) { this.given = value; } });
new Function(script)();
const all = (node) => [node, ...node.children.flatMap(all)];
for (const row of all(places.main).filter((node) => node.className === "row")) row.listeners.click();
console.log(JSON.stringify({ text: all(places.main).filter((node) => node.own !== undefined).map((node) => node.own), tags: all(places.main).map((node) => node.tag) }));
