(() => {
  "use strict";
  const get = (id) => document.getElementById(id);
  const quiz = JSON.parse(get("content").textContent);
  const slot = `emotion-quiz-${quiz.quiz}`;
  const buttons = Array.from(document.querySelectorAll("#choices button"));
  let state = { person: "", answers: {}, at: 0 };

  // Storage can be forbidden for files opened from disk; then answers last as long as the page is open.
  const recall = () => { try { return JSON.parse(localStorage.getItem(slot)); } catch { return null; } };
  const keep = () => { try { localStorage.setItem(slot, JSON.stringify(state)); } catch { /* not kept */ } };

  const saved = () => JSON.stringify({ format: quiz.format, quiz: quiz.quiz, person: state.person, answers: state.answers }, null, 1);
  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([saved()], { type: "application/json" }));
    link.download = `answers-${state.person.replace(/[^\p{L}\p{N}]+/gu, "-")}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  };

  const show = () => {
    const total = quiz.images.length;
    const done = Object.keys(state.answers).length;
    get("start").hidden = state.person !== "";
    get("ask").hidden = state.person === "" || state.at >= total;
    get("end").hidden = state.person === "" || state.at < total;
    get("text").value = saved();
    if (state.at >= total) return;
    const image = quiz.images[state.at];
    get("face").src = image.src;
    get("where").textContent = `Face ${state.at + 1} of ${total}, ${done} answered`;
    get("bar").firstElementChild.style.width = `${(100 * done) / total}%`;
    buttons.forEach((button) => {
      const chosen = state.answers[image.id] === button.dataset.class;
      button.classList.toggle("chosen", chosen);
      button.setAttribute("aria-pressed", chosen);
    });
  };
  const go = (place) => {
    state.at = Math.min(Math.max(0, place), quiz.images.length);
    keep();
    show();
  };
  const answer = (name) => {
    if (state.at >= quiz.images.length) return;
    state.answers[quiz.images[state.at].id] = name;
    go(state.at + 1);
  };

  buttons.forEach((button) => button.addEventListener("click", () => answer(button.dataset.class)));
  get("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    state.person = get("person").value.trim();
    go(0);
  });
  get("save").addEventListener("click", download);
  get("download").addEventListener("click", download);
  document.addEventListener("keydown", (event) => {
    if (state.person === "" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const number = Number(event.key);
    if (number >= 1 && number <= buttons.length) answer(buttons[number - 1].dataset.class);
    else if (event.key === "ArrowLeft" || event.key === "Backspace") go(state.at - 1);
    else if (event.key === "ArrowRight" && quiz.images[state.at]?.id in state.answers) go(state.at + 1);
    else return;
    event.preventDefault();
  });

  const before = recall();
  if (before && typeof before.person === "string" && before.answers) state = before;
  show();
})();
