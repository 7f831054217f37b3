// Elements from data. Text becomes text nodes and nothing is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element of HTML; children are elements, texts, or nothing (null). */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "style") {
      for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    } else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A name from a user's file: its direction does not reach beyond it. */
export function name(text, attributes = {}) {
  return el("bdi", attributes, text);
}

export function find(selector, parent = document) {
  return parent.querySelector(selector);
}

export function findAll(selector, parent = document) {
  return [...parent.querySelectorAll(selector)];
}
