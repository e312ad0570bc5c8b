// What a reader with a screen reader, a keyboard, weak eyes or a phone would stumble
// over on the page that is shown: a list of sentences. It is an expression.
(() => {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const isShown = (e) => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
  // What is in a picture is hidden too: the picture's name stands for it.
  const isHidden = (e) => e.closest("[aria-hidden=true]") !== null || e.parentElement.closest("[role=img]") !== null || !isShown(e);
  const tell = (e, what) => faults.push(`${what}: ${e.outerHTML.replace(/\s+/g, " ").slice(0, 160)}`);
  const textOfIds = (ids) => (ids ?? "").split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim();
  const nameOf = (e) => (e.getAttribute("aria-label") ?? "").trim() || textOfIds(e.getAttribute("aria-labelledby")) ||
    [...(e.labels ?? [])].map((l) => l.textContent.trim()).join(" ") || e.textContent.trim() ||
    (e.querySelector("img[alt]")?.getAttribute("alt") ?? "").trim() || (e.getAttribute("title") ?? "").trim();

  const structure = () => {
    if (document.documentElement.lang !== "en") faults.push("the page does not tell its language");
    if (document.title.trim() === "") faults.push("the page has no title");
    if (all("main").length !== 1) faults.push(`the page has ${all("main").length} main parts`);
    if (all("h1").length !== 1) faults.push(`the page has ${all("h1").length} first headings`);
    let level = 0;
    for (const h of all("h1,h2,h3,h4,h5,h6").filter((h) => !isHidden(h))) {
      const its = Number(h.localName[1]);
      if (its > level + 1) tell(h, `a heading of level ${its} follows one of ${level}`);
      if (h.textContent.trim() === "") tell(h, "an empty heading");
      level = its;
    }
    const seen = new Set();
    for (const e of all("[id]")) {
      if (seen.has(e.id)) tell(e, "its id is another's too");
      seen.add(e.id);
    }
    for (const e of all("[aria-labelledby],[aria-describedby],[aria-controls]")) {
      for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
        for (const id of (e.getAttribute(name) ?? "").split(/\s+/).filter(Boolean)) {
          if (!document.getElementById(id)) tell(e, `${name} names nothing`);
        }
      }
    }
    const navs = all("nav");
    if (navs.length > 1) navs.filter((n) => nameOf(n) === "" || !(n.ariaLabel || n.getAttribute("aria-labelledby"))).forEach((n) => tell(n, "one of several nav without a name"));
  };

  const names = () => {
    all("input:not([type=hidden]),select,textarea,meter,progress").filter((e) => !isHidden(e)).forEach((e) => {
      if ((e.ariaLabel ?? "").trim() === "" && !textOfIds(e.getAttribute("aria-labelledby")) && ![...(e.labels ?? [])].some((l) => l.textContent.trim())) tell(e, "no label");
    });
    all("a[href],button,summary,[role=button],[role=img]").filter((e) => !isHidden(e)).forEach((e) => { if (nameOf(e) === "") tell(e, "no name"); });
    all("img:not([alt])").forEach((e) => tell(e, "no alt"));
    all("svg").filter((e) => !isHidden(e) && !e.closest("[role=img]")).forEach((e) => tell(e, "a drawing that is neither hidden nor named"));
    all("canvas").filter((e) => !isHidden(e) && !e.closest("[role=img]")).forEach((e) => tell(e, "a drawing that is neither hidden nor named"));
    all("table").filter((e) => !isHidden(e)).forEach((e) => {
      if (!e.caption?.textContent.trim() && !e.ariaLabel && !textOfIds(e.getAttribute("aria-labelledby"))) tell(e, "a table without a name");
      e.querySelectorAll("th:not([scope])").forEach((th) => tell(th, "a heading cell that does not say of what"));
    });
    all("[tabindex]").filter((e) => e.tabIndex > 0).forEach((e) => tell(e, "out of the order of the keyboard"));
  };

  const sizes = () => {
    const page = document.scrollingElement;
    if (page.scrollWidth > page.clientWidth) {
      faults.push(`the page is ${page.scrollWidth} px wide in a window of ${page.clientWidth}`);
      const inScroller = (e) => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) if (getComputedStyle(p).overflowX !== "visible") return true; return false; };
      all("body *").filter((e) => isShown(e) && e.getBoundingClientRect().right > page.clientWidth + 1 && !inScroller(e)).slice(0, 3).forEach((e) => tell(e, "it sticks out"));
    }
    all("button,select,input:not([type=hidden]),summary,nav a").filter((e) => !isHidden(e)).forEach((e) => {
      const box = e.getBoundingClientRect();
      if (box.height < 24 || box.width < 24) tell(e, `it is only ${Math.round(box.width)} by ${Math.round(box.height)} px`);
    });
    // What scrolls by itself must be reachable with the keyboard.
    all("body *").filter((e) => isShown(e) && e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX)).forEach((e) => {
      if (e.tabIndex < 0 && !e.querySelector("a[href],button,input,select")) tell(e, "it scrolls, but not by keyboard");
    });
  };

  // Contrast as WCAG 2.2, 1.4.3 has it. A canvas knows every notation of a colour.
  const dot = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      dot.clearRect(0, 0, 1, 1);
      dot.fillStyle = colour;
      dot.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = dot.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = (top, ground) => [0, 1, 2].map((i) => top[i] * top[3] + ground[i] * (1 - top[3])).concat(1);
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  };
  const groundOf = (e) => {
    const layers = [];
    for (let p = e; p; p = p.parentElement) {
      const colour = rgba(getComputedStyle(p).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
    return layers.reduceRight((ground, layer) => over(layer, ground), canvas);
  };
  const contrasts = () => {
    const told = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const e = walker.currentNode.parentElement;
      if (!e || walker.currentNode.data.trim() === "" || /^(script|style|title|option|noscript)$/i.test(e.localName) || !isShown(e) || e.matches(":disabled")) continue;
      const style = getComputedStyle(e);
      const isDrawn = e instanceof SVGElement;
      const box = e.getBoundingClientRect();
      if (box.width <= 1 || box.height <= 1) continue; // for screen readers alone
      let opacity = 1;
      for (let p = e; p; p = p.parentElement) opacity *= Number(getComputedStyle(p).opacity);
      const ground = groundOf(e);
      const [r, g, b, a] = rgba(isDrawn ? style.fill : style.color);
      const ratio = contrast(over([r, g, b, a * opacity], ground), ground);
      const size = parseFloat(style.fontSize);
      const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
      const what = `${style.color} on rgb(${ground.slice(0, 3).map(Math.round)}) has a contrast of ${ratio.toFixed(2)}`;
      if (ratio < needed && !told.has(what)) {
        told.add(what);
        tell(e, what);
      }
    }
  };

  structure();
  names();
  sizes();
  contrasts();
  return faults;
})()
