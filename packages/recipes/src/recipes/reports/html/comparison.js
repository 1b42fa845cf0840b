"use strict";

// Without this script everything is shown; it hides runs and enlarges pictures.

for (const box of document.querySelectorAll(".legend input")) {
  box.disabled = false;
  box.addEventListener("change", () => {
    for (const each of document.querySelectorAll(`svg .of-${box.value}`)) each.style.display = box.checked ? "" : "none";
  });
}

const enlarged = document.createElement("dialog");
enlarged.setAttribute("aria-label", "Picture");
document.querySelector("main").append(enlarged);

for (const button of document.querySelectorAll("button.picture")) {
  button.addEventListener("click", () => {
    const close = document.createElement("button");
    close.textContent = "Close";
    const large = button.firstElementChild.cloneNode();
    for (const element of [close, large]) element.addEventListener("click", () => enlarged.close());
    enlarged.replaceChildren(close, large);
    enlarged.showModal();
  });
}
