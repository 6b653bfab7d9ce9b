// What the page does without the server: links, downloads, dark mode, pasting, and keys for the comparison.
window.catseg = (() => {
  const keys = ["words", "vocabulary", "model", "threshold", "opacity", "background"];

  // A link that restores words and settings; the address of the page becomes the same.
  const link = (...values) => {
    const url = new URL(window.location.href.split("?")[0].split("#")[0]);
    keys.forEach((key, place) => {
      if (values[place] !== null && values[place] !== undefined && values[place] !== "") {
        url.searchParams.set(key, values[place]);
      }
    });
    const theme = new URLSearchParams(window.location.search).get("__theme");
    if (theme) url.searchParams.set("__theme", theme);
    window.history.replaceState(null, "", url);
    return url.toString();
  };

  const copy = async (...values) => {
    const text = link(...values);
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Browsers forbid it on pages that are not safe; the field with the link is there to be copied.
    }
    return text;
  };

  const save = (file) => {
    if (!file || !file.url) return;
    const anchor = document.createElement("a");
    anchor.href = file.url;
    anchor.download = file.name;
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
  };

  const theme = () => document.body.classList.toggle("dark");

  document.addEventListener("paste", (event) => {
    const image = [...(event.clipboardData?.files || [])].find((file) => file.type.startsWith("image/"));
    const input = document.querySelector("#catseg-photo input[type=file]");
    if (!image || !input) return;
    event.preventDefault();
    const files = new DataTransfer();
    files.items.add(image);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });

  return { link, copy, save, theme };
})();
