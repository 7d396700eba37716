// Sets the theme that was chosen before anything is drawn, so that nothing flashes.
"use strict";

try {
  const theme = localStorage.getItem("keystead-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system's theme it is.
}
