// Without this script everything is shown; it hides runs and enlarges pictures.

for (const box of document.querySelectorAll(".legend input")) {
  box.disabled = false;
  box.addEventListener("change", () => {
    for (const each of document.querySelectorAll(`svg .of-${box.value}`)) each.style.display = box.checked ? "" : "none";
  });
}

for (const button of document.querySelectorAll("button.picture")) {
  button.addEventListener("click", () => enlarge(button.firstElementChild.cloneNode()));
}
