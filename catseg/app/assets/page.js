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

  const theme = () => {
    document.body.classList.toggle("dark");
    document.body.style.background = "var(--body-background-fill)"; // else that of the system stays
  };

  // Gradio's lists of choices take Tab for a key that opens them, and would stay open.
  const withoutTab = (event) => {
    if (event.key === "Tab" && event.target.closest?.("[role=combobox], [role=listbox]")) event.stopPropagation();
  };
  document.addEventListener("keydown", withoutTab, true);

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

  // Gradio's comparison is moved by the pointer alone: arrow keys move it as one.
  const step = 24;
  const nudge = (handle, by) => {
    const bar = handle.querySelector(".inner");
    const box = bar.getBoundingClientRect();
    const at = { view: window, bubbles: true, cancelable: true, button: 0, clientY: box.top + box.height / 2 };
    const x = box.left + box.width / 2;
    bar.dispatchEvent(new MouseEvent("mousedown", { ...at, clientX: x }));
    window.dispatchEvent(new MouseEvent("mousemove", { ...at, clientX: x + by }));
    window.dispatchEvent(new MouseEvent("mouseup", { ...at, clientX: x + by }));
    handle.setAttribute("aria-valuenow", String(Math.round(position(handle))));
  };
  const position = (handle) => {
    const frame = handle.parentElement.getBoundingClientRect();
    return (100 * (handle.querySelector(".inner").getBoundingClientRect().left - frame.left)) / frame.width;
  };
  const reachable = () => {
    document.querySelectorAll("#catseg-comparison [data-testid=slider]:not([tabindex])").forEach((handle) => {
      handle.tabIndex = 0;
      handle.setAttribute("role", "slider");
      handle.setAttribute("aria-label", "Border between image and classes");
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", "100");
      handle.setAttribute("aria-valuenow", "50");
      handle.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -step, ArrowRight: step }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        nudge(handle, by);
      });
    });
  };
  new MutationObserver(reachable).observe(document.documentElement, { childList: true, subtree: true });

  return { link, copy, save, theme };
})();
