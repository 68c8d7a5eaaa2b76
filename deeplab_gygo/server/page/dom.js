/** Makes an element with properties and children. */
export function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Changes the picture of a button. */
export function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `page/icons.svg#${name}`);
}

/** Makes buttons of a radio group: one is chosen, arrows choose the next. */
export function radioGroup(group, key, choose) {
  const buttons = [...group.querySelectorAll("[role=radio]")];
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button.dataset[key]));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const shown = buttons.filter((other) => !other.hidden);
      const next = shown.at((shown.indexOf(button) + step) % shown.length);
      choose(next.dataset[key]);
      next.focus();
    });
  }
  return (value) => {
    for (const button of buttons) {
      const chosen = button.dataset[key] === String(value);
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    }
  };
}
