"use strict";
// Everything here is an extra: without it the page still shows all pictures and figures.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const previews = JSON.parse(one("#previews").textContent);
const cards = all(".card");
const tip = one(".tip"), viewer = one(".viewer"), chosen = one(".chosen");
const search = one("input[type=search]"), everything = one(".all");
const span = (tile) => ["first", "last", "start", "stop"].map((name) => Number(tile.dataset[name]));

// The plan: what a block looks like so far, and which images it leads to.
const showTip = (tile, x, y) => {
  const source = previews[tile.dataset.segment];
  [one("strong", tip).textContent, one("span", tip).textContent] = tile.story;
  one("img", tip).hidden = !source;
  if (source) one("img", tip).src = source;
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  tip.style.left = Math.max(8, Math.min(x + 16, innerWidth - width - 8)) + "px";
  tip.style.top = (y + 20 + height > innerHeight ? Math.max(8, y - height - 14) : y + 20) + "px";
};

const walk = (tiles, tile, key) => {
  const [first, last, start, stop] = span(tile);
  const wanted = {
    ArrowDown: ([a, b, c]) => c === stop && a >= first && b <= last,
    ArrowUp: ([a, b, , d]) => d === start && a <= first && b >= last,
    ArrowRight: ([a, , c, d]) => a === last && c <= start && d > start,
    ArrowLeft: ([, b, c, d]) => b === first && c <= start && d > start,
  }[key];
  return wanted && tiles.find((each) => wanted(span(each)));
};

for (const plan of all(".plan")) {
  const svg = one("svg", plan), tiles = all(".hd-tile", svg);
  let here = tiles[0];
  const mark = (tile) => {
    tiles.forEach((each) => each.classList.toggle("on", each === tile));
    if (!tile) return;
    here = tile;
    const box = tile.getBoundingClientRect();
    showTip(tile, box.left + Math.min(box.width / 2, 200), box.top + Math.min(box.height, 30));
  };
  for (const tile of tiles) {
    const title = one("title", tile);
    const [heading, ...lines] = title.textContent.split("\n");
    tile.story = [heading, lines.join("\n")];
    title.remove(); // or the browser would show it a second time
    tile.addEventListener("pointermove", (event) => showTip(tile, event.clientX, event.clientY));
    tile.addEventListener("click", () => choose(tile));
  }
  for (const image of all("image", svg)) {
    image.addEventListener("click", () => open(one("#at-" + image.dataset.at)));
  }
  svg.addEventListener("pointerleave", () => (tip.hidden = true));
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("role", "application");
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && mark(here));
  svg.addEventListener("blur", () => { mark(null); tip.hidden = true; });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter") return choose(here);
    if (event.key === "Escape") return (tip.hidden = true);
    const next = walk(tiles, here, event.key);
    if (event.key.startsWith("Arrow")) event.preventDefault();
    if (next) mark(next);
  });
}
one(".hint").hidden = false;

// The gallery: all of it, one block's images, or those that match some words.
const show = (keep, message) => {
  let count = 0;
  for (const card of cards) count += !(card.hidden = !keep(card));
  for (const family of all(".family")) family.hidden = !one(".card:not([hidden])", family);
  everything.hidden = count === cards.length && !message;
  chosen.textContent = message || count < cards.length ? `${count} of ${cards.length}${message}` : "";
};
const choose = (tile) => {
  const [first, last, , stop] = span(tile);
  tip.hidden = true;
  search.value = "";
  show((card) => card.dataset.at >= first && card.dataset.at < last, `, together up to step ${stop}`);
  one("#gallery").scrollIntoView();
};
everything.addEventListener("click", () => { search.value = ""; show(() => true, ""); });
search.hidden = false;
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (card) => (one(".reference", card).textContent + (one(".more", card)?.title || "") + " "
    + one(".prompt", card).textContent).toLowerCase();
  show((card) => words.every((word) => text(card).includes(word)), "");
});

// One picture, large, with the blocks it came through.
const path = (at) => all(".plan.wide .hd-tile")
  .filter((tile) => { const [first, last] = span(tile); return first <= at && at < last; })
  .sort((a, b) => a.dataset.start - b.dataset.start);
const open = (card) => {
  const small = one(".picture img", card), link = one(".picture", card).getAttribute("href");
  if (!small) return;
  const large = one("figure > img", viewer), anchor = one("a", viewer);
  viewer.at = cards.indexOf(card);
  large.onerror = () => { large.onerror = null; large.src = small.src; };
  large.src = link || small.src;
  large.alt = small.alt;
  one(".reference", viewer).textContent = one(".reference bdi", card).textContent;
  one(".text", viewer).textContent = one(".prompt", card).textContent;
  one(".steps", viewer).textContent = one(".steps", card).title;
  anchor.hidden = !link;
  if (link) anchor.href = link;
  const steps = path(Number(card.dataset.at)).filter((tile) => previews[tile.dataset.segment]);
  one(".path", viewer).replaceChildren(...steps.map((tile) => {
    const item = document.createElement("li"), image = new Image();
    const [first, last, , stop] = span(tile);
    image.src = previews[tile.dataset.segment];
    image.alt = "";
    item.append(image, last - first > 1 ? `step ${stop}\n${last - first} share it` : `step ${stop}\nits own`);
    return item;
  }));
  if (!viewer.open) viewer.showModal();
};
const turn = (way) => {
  const seen = cards.filter((card) => !card.hidden && one(".picture img", card));
  const next = seen[seen.indexOf(cards[viewer.at]) + way];
  if (next) open(next);
};
for (const card of cards) {
  const picture = one("a.picture", card);
  if (!picture) continue;
  if (!picture.hasAttribute("href")) {
    picture.tabIndex = 0;
    picture.setAttribute("role", "button");
    picture.addEventListener("keydown", (event) => event.key === "Enter" && open(card));
  }
  picture.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    open(card);
  });
}
one(".close", viewer).addEventListener("click", () => viewer.close());
one(".previous", viewer).addEventListener("click", () => turn(-1));
one(".next", viewer).addEventListener("click", () => turn(1));
viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(-1);
  if (event.key === "ArrowRight") turn(1);
});

for (const button of all("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(one("code", button.parentElement).textContent);
    button.textContent = "Copied";
  });
}
