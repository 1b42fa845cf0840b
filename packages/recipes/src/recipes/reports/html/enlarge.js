"use strict";

// An image over the page, until it or its button is clicked.

const enlarged = document.createElement("dialog");
enlarged.setAttribute("aria-label", "Picture");
document.querySelector("main").append(enlarged);

function enlarge(image) {
  const close = document.createElement("button");
  close.textContent = "Close";
  for (const element of [close, image]) element.addEventListener("click", () => enlarged.close());
  enlarged.replaceChildren(close, image);
  enlarged.showModal();
}
