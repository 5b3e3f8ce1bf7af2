// Pictures that a person gives: chosen, pasted, or dropped anywhere on the page.

const LARGEST_BYTES = 9_500_000; // a little under what the service takes
const SHRUNK_PX = 1600; // longest side of a picture that was too large; models look at far less

const byId = (id) => document.getElementById(id);
const firstFile = (transfer) => transfer?.files?.[0] ?? null;
const isFileDrag = (event) => event.dataTransfer?.types.includes("Files");
const showVeil = (shown) => document.body.classList.toggle("dropping", shown);

/** `take(file)` is called with each picture, small enough to be sent. */
export function watchPictures(take) {
  const give = async (file) => file && take(file.size > LARGEST_BYTES ? await shrink(file) : file);

  byId("choose-picture").addEventListener("click", () => byId("picture-file").click());
  byId("picture-file").addEventListener("change", (event) => {
    give(event.target.files[0]);
    event.target.value = ""; // the same file can be chosen again
  });

  addEventListener("paste", (event) => {
    const file = firstFile(event.clipboardData);
    if (!file) return; // text goes into the box as usual
    event.preventDefault();
    give(file);
  });

  let depth = 0; // dragenter and dragleave fire for every element below the pointer
  addEventListener("dragenter", (event) => {
    if (isFileDrag(event)) showVeil(++depth > 0);
  });
  addEventListener("dragleave", (event) => {
    if (isFileDrag(event)) showVeil(--depth > 0);
  });
  addEventListener("dragover", (event) => {
    if (isFileDrag(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    depth = 0;
    showVeil(false);
    const file = firstFile(event.dataTransfer);
    if (!file) return;
    event.preventDefault();
    give(file);
  });
}

/** A smaller copy of a picture, or the file itself where the browser cannot read it: then the service says why. */
export async function shrink(file) {
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, SHRUNK_PX / Math.max(picture.width, picture.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(scale * picture.width));
    canvas.height = Math.max(1, Math.round(scale * picture.height));
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    return (await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92))) ?? file;
  } catch {
    return file;
  }
}
