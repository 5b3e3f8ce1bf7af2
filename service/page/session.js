// The key of a service that wants one: asked for in a small dialog, exchanged for a cookie, never kept here.
import { openSession, Problem } from "./api.js";

const byId = (id) => document.getElementById(id);
const dialog = byId("key-dialog");
const box = byId("key");
const note = byId("key-note");

let asking = null; // shared by all requests that were refused at the same time

/** Resolves when the service has taken a key; rejects when the person closes the dialog. */
export function askForKey() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

function ask() {
  return new Promise((resolve, reject) => {
    let isOpen = false; // the session, once the key was taken
    note.hidden = true;
    box.value = "";
    const send = async (event) => {
      event.preventDefault();
      if (!box.value.trim()) return box.focus();
      byId("key-send").disabled = true;
      try {
        await openSession(box.value.trim());
        isOpen = true;
        dialog.close();
      } catch (error) {
        note.textContent =
          error.status === 401 ? "The service does not know this key." : [error.title, error.detail].filter(Boolean).join(". ");
        note.hidden = false;
        box.select();
        box.focus();
      } finally {
        byId("key-send").disabled = false;
      }
    };
    const done = () => {
      dialog.removeEventListener("submit", send);
      box.value = "";
      if (isOpen) resolve();
      else reject(new Problem({ code: "key_needed", title: "A key is needed", detail: "This service answers only those who have one.", status: 401 }));
    };
    dialog.addEventListener("submit", send);
    dialog.addEventListener("close", done, { once: true });
    dialog.showModal();
  });
}

byId("key-cancel").addEventListener("click", () => dialog.close());
