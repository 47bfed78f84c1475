"use strict";
// Each mark's words stand in its <title>, so a pointer finds them without this script. Here they are shown below the
// picture as well, for fingers and for the arrow keys. Text goes in as text, never as HTML.
for (const plot of document.querySelectorAll(".plot[tabindex]")) {
  const marks = [...plot.querySelectorAll(".mark")];
  const detail = plot.parentElement.querySelector(".detail");
  let at = -1;
  let isPinned = false;
  const show = (index) => {
    if (index < 0 || index >= marks.length || !detail) return;
    if (at >= 0) marks[at].classList.remove("on");
    at = index;
    marks[at].classList.add("on");
    detail.replaceChildren(...marks[at].querySelector("title").textContent.split("\n").map((line, number) => {
      const part = document.createElement("p");
      part.dir = "auto";
      if (number === 0) part.className = "head";
      part.textContent = line;
      return part;
    }));
  };
  const indexOf = (target) => marks.indexOf(target.closest ? target.closest(".mark") : null);
  plot.addEventListener("pointerover", (event) => { if (!isPinned && event.pointerType === "mouse") show(indexOf(event.target)); });
  plot.addEventListener("click", (event) => {
    const index = indexOf(event.target);
    isPinned = index >= 0 && !(isPinned && index === at);
    show(index);
  });
  plot.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    let next = null;
    if (event.key in steps) next = Math.min(marks.length - 1, Math.max(0, at + steps[event.key]));
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = marks.length - 1;
    if (event.key === "Escape") isPinned = false;
    if (next === null || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    isPinned = true;
    show(next);
  });
}
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
