// A click on a heading sorts its table, a second click the other way round; empty cells stay last.
document.addEventListener("click", event => {
  const heading = event.target.closest("th button")?.closest("th");
  if (!heading) return;
  const table = heading.closest("table"), column = heading.cellIndex;
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
    : (rising ? 1 : -1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  const rows = [...table.tBodies[0].rows].sort((a, b) => order(value(a), value(b)));
  table.tBodies[0].append(...rows);
});
