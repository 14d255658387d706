// Without this script the page shows everything; with it, the map can be thinned out and asked.
(() => {
  document.documentElement.classList.add("live");
  const plane = document.querySelector(".plane");
  if (!plane) return;
  const buttons = [...document.querySelectorAll("[data-switch]")];
  const set = (button, on) => {
    button.setAttribute("aria-pressed", on);
    plane.querySelectorAll(`[data-${button.dataset.switch}="${button.dataset.value}"]`)
      .forEach((part) => part.toggleAttribute("hidden", !on));
  };
  buttons.forEach((button) => button.addEventListener("click", () =>
    set(button, button.getAttribute("aria-pressed") !== "true")));
  document.querySelectorAll("[data-all]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => buttons.filter((other) => other.dataset.switch === "group")
      .forEach((other) => set(other, button.dataset.all === "true")));
  });

  const tip = document.getElementById("tip");
  plane.querySelectorAll(".mark").forEach((mark) => {
    const title = mark.querySelector("title");
    mark.dataset.tip = title.textContent;
    title.remove(); // else the browser's own tip covers ours
  });
  const show = (event) => {
    const mark = event.target.closest(".mark");
    tip.hidden = !mark;
    if (!mark) return;
    const picture = mark.querySelector("image");
    tip.replaceChildren();
    if (picture) tip.appendChild(Object.assign(new Image(), { src: picture.getAttribute("href"), alt: "" }));
    tip.append(mark.dataset.tip);
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 16, innerWidth - width - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(event.clientY + 16, innerHeight - height - 8))}px`;
  };
  plane.addEventListener("pointermove", show);
  plane.addEventListener("pointerdown", show);
  plane.addEventListener("pointerleave", () => { tip.hidden = true; });
})();
