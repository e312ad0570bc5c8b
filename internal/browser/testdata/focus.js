// Begins to watch where the focus goes; window.focused tells it. It is an expression.
(() => {
  const describe = (e) => e.outerHTML.replace(/\s+/g, " ").slice(0, 120);
  const canFocus = (e) => e.tabIndex >= 0 && !e.disabled && !e.closest("[inert]") && e.checkVisibility({checkVisibilityCSS: true}) &&
    (e.localName !== "summary" || e.parentElement.localName === "details");
  window.focused = {order: [], unseen: [], missed: () => [], describe};
  const reachable = () => [...document.querySelectorAll("a[href],button,input:not([type=hidden]),select,textarea,summary,[tabindex]")].filter(canFocus);
  const reached = new Set();
  document.addEventListener("focusin", ({target}) => {
    reached.add(target);
    window.focused.order.push(describe(target));
    const style = getComputedStyle(target);
    const box = target.getBoundingClientRect();
    const isRinged = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 || style.boxShadow !== "none";
    const isInView = box.bottom > 0 && box.top < innerHeight && box.width > 0 && box.height > 0;
    if (!isRinged || !isInView) window.focused.unseen.push(describe(target));
  });
  window.focused.missed = () => {
    const groups = new Set([...reached].filter((e) => e.type === "radio").map((e) => e.name));
    return reachable().filter((e) => !reached.has(e) && !(e.type === "radio" && groups.has(e.name))).map(describe);
  };
  return reachable().length;
})()
