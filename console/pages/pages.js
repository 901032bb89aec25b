// What the pages behind mailed links do. A token is kept in this module's memory only: never in storage, never in an
// address that is sent anywhere.
const page = document.body.dataset.page;
const form = document.querySelector("form");
const token = takeToken();
let registered = false; // whether this try has sent a registration; the next one then only logs in

// takeToken reads the token behind the # and clears it, so that neither the history nor a shared address keeps it.
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  if (location.hash !== "") history.replaceState(null, "", location.pathname);
  return found;
}

// A second link that is opened in the same tab changes nothing but the hash, which loads no page.
addEventListener("hashchange", () => location.reload());

// Problem is a request that did not succeed; fields are the entries of the problem document.
class Problem extends Error {
  constructor(detail, code = "", fields = []) {
    super(detail);
    this.code = code;
    this.fields = fields;
  }
}

// post sends JSON and returns the answer's, or throws a Problem.
async function post(path, body, bearer = "") {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (bearer !== "") headers.Authorization = `Bearer ${bearer}`;
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), credentials: "omit", cache: "no-store" });
  } catch {
    throw new Problem("The server could not be reached. Look at your connection and try again.");
  }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  throw new Problem(said.detail || said.title || `The server answered with status ${answer.status}.`, said.code, said.errors ?? []);
}

// paragraphs makes one p of each text; a text may be a list of texts and links.
function paragraphs(texts) {
  return texts.map((text) => {
    const p = document.createElement("p");
    p.append(...[text].flat());
    return p;
  });
}

function link(href, text) {
  const a = document.createElement("a");
  a.href = href;
  a.textContent = text;
  return a;
}

function show(id, texts) {
  for (const other of ["problem", "result"]) document.getElementById(other).hidden = other !== id;
  const box = document.getElementById(id);
  box.replaceChildren(...paragraphs(texts));
  box.focus();
}

// named returns the form's field that a pointer such as /email names, if it is one that can be typed into.
function named(pointer) {
  const field = form?.elements.namedItem(pointer.replace(/^\//, ""));
  return field instanceof HTMLInputElement ? field : null;
}

// complain shows a problem and marks the fields that it names.
function complain(problem, ...more) {
  const texts = [problem.message];
  for (const { pointer = "", message = "" } of problem.fields ?? []) {
    const field = named(pointer);
    field?.setAttribute("aria-invalid", "true");
    const label = field?.labels[0]?.textContent.trim() ?? pointer;
    texts.push(label === "" ? message : `${label}: ${message}`);
  }
  show("problem", [...texts, ...more]);
}

// finish ends the page: what was asked for is done.
function finish(...texts) {
  form?.remove();
  document.getElementById("busy")?.remove();
  show("result", texts);
}

function fail(problem, ...more) {
  document.getElementById("busy")?.remove();
  complain(problem, ...more);
}

// check finds what the browser knows to be wrong before anything is sent.
function check(values) {
  const fields = [];
  for (const field of form.elements) {
    if (field instanceof HTMLInputElement && !field.disabled && !field.validity.valid) {
      fields.push({ pointer: field.name, message: field.validity.patternMismatch ? field.title : field.validationMessage });
    }
  }
  if (fields.length === 0 && "repeat" in values && values.repeat !== values.password) {
    fields.push({ pointer: "repeat", message: "is not the same as the password above" });
  }
  if (fields.length > 0) throw new Problem("Some of it is not right yet.", "", fields);
}

// onSubmit runs the step with the form's values, one at a time.
function onSubmit(step) {
  const button = form.querySelector("button");
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    registered = false;
    button.setAttribute("aria-disabled", "true"); // disabled would take the focus away
    document.getElementById("problem").hidden = true;
    for (const field of form.elements) field.removeAttribute("aria-invalid");
    try {
      const values = Object.fromEntries(new FormData(form));
      check(values);
      await step(values);
    } catch (problem) {
      if (problem.code === "token_invalid" && page === "reset-password") {
        complain(problem, link("/forgot-password", "Ask for a new link"));
      } else if (problem.code === "invalid_credentials" && registered) {
        complain(problem, "The address has an account already: log in with the password of that account.");
      } else {
        complain(problem);
      }
    } finally {
      busy = false;
      button.removeAttribute("aria-disabled");
    }
  });
}

async function confirmEmail() {
  try {
    const said = await post("/v1/auth/confirm-email", { token });
    finish(said.message, ["How to go on: ", link("/docs", "API reference"), "."]);
  } catch (problem) {
    fail(problem);
  }
}

function resetPassword() {
  onSubmit(async ({ password }) => {
    const said = await post("/v1/auth/password-reset/confirm", { token, password });
    finish(said.message, link("/login", "Go to your account"));
  });
}

function forgotPassword() {
  onSubmit(async ({ email }) => finish((await post("/v1/auth/password-reset", { email })).message));
}

// acceptInvitation logs in for this one request and out again: the page keeps no session.
function acceptInvitation() {
  const person = document.getElementById("new-person");
  const { username, password } = form.elements;
  const hint = document.getElementById("password-hint");
  const choose = () => {
    const isNew = form.elements.account.value === "new";
    person.hidden = hint.hidden = !isNew;
    username.disabled = !isNew;
    password.autocomplete = isNew ? "new-password" : "current-password";
    if (isNew) password.setAttribute("aria-describedby", hint.id);
    else password.removeAttribute("aria-describedby");
    password.minLength = isNew ? 8 : 1;
  };
  form.addEventListener("change", choose);
  choose(); // a browser may bring back the choice of an earlier visit
  onSubmit(async ({ account, username: name, email, password: secret }) => {
    if (account === "new") {
      await post("/v1/auth/register", { username: name, email, password: secret });
      registered = true;
      form.elements.account.value = "known";
      choose();
    }
    const { access_token: bearer } = await post("/v1/auth/login", { email, password: secret });
    try {
      const organization = await post("/v1/invitations/accept", { token }, bearer);
      finish(
        `You are now a member of ${organization.name}, with the role ${organization.role}.`,
        ["This release is used through its API, which the ", link("/docs", "API reference"), " describes."],
      );
    } finally {
      await post("/v1/auth/logout", undefined, bearer).catch(() => {}); // the session ends by itself as well
    }
  });
}

const pages = {
  "confirm-email": confirmEmail,
  "reset-password": resetPassword,
  "forgot-password": forgotPassword,
  "accept-invitation": acceptInvitation,
};

if (page !== "forgot-password" && token === "") {
  form?.remove();
  fail(new Problem("This address lacks the token of the mailed link. Open the link in the mail once more."));
} else {
  pages[page]();
}
