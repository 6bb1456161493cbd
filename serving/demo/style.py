"""How the demo's page looks, and the little that it does: `page.py` puts both into the page."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d1f23; --soft: #5f646d; --paper: #f6f5f1; --card: #fff; --line: #dedbd2;
  --mark: #b3261e; --now: #fdf1d8; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #a2a6ad; --paper: #17181b; --card: #202226;
  --line: #34373d; --mark: #ff8a80; --now: #3a3322; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header, main { max-width: 78rem; margin: auto; padding: 2rem 1.25rem 0; }
h1 { font-size: 1.9rem; margin: 0; letter-spacing: -.02em; } h1 span { color: var(--mark); }
header p { color: var(--soft); max-width: 46rem; }
nav ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; }
nav li a { border: 1px solid var(--line); border-radius: 99px; padding: .15rem .7rem; color: inherit;
  text-decoration: none; background: var(--card); font-size: .9rem; }
nav li.next::before { content: "\\2192"; color: var(--soft); margin-right: .4rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.25rem;
  margin-bottom: 1.5rem; display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 5fr) minmax(0, 4fr); }
@media (max-width: 46rem) { article { grid-template-columns: 1fr; } }
article > .wide { grid-column: 1 / -1; overflow-x: auto; }
h2 { margin: 0 0 .5rem; font-size: 1.15rem; }
video, .still { width: 100%; border-radius: 8px; background: #000; display: block; image-rendering: pixelated; }
.stills { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
.line { display: flex; gap: 2px; list-style: none; padding: 0; margin: .5rem 0 0; }
.line li { flex: 1; min-width: 0; }
.line button { width: 100%; padding: .1rem 0; border: 0; border-radius: 4px; cursor: pointer; font: inherit;
  font-size: .8rem; background: var(--line); color: inherit; }
.line .earlier { opacity: .55; } .line .now { background: var(--mark); color: #fff; opacity: 1; }
.sheet, .world { width: 100%; margin-top: .5rem; border-radius: 6px; } .world { image-rendering: pixelated; }
figcaption { color: var(--soft); font-size: .9rem; } a { color: inherit; }
figure { margin: .75rem 0 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: 0; font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.in { height: 4.5rem; image-rendering: pixelated; border-radius: 4px; margin-right: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; }
th { text-align: left; color: var(--soft); font-weight: 500; }
th, td { padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--line); vertical-align: top; }
tr.now td { background: var(--now); } td img { height: 2.5rem; image-rendering: pixelated; border-radius: 3px; }
td small { color: var(--soft); white-space: nowrap; }
td.number { white-space: nowrap; } td.wrong { color: var(--mark); font-weight: 600; }
code { font-size: .85em; }
"""

SCRIPT: Final = """
for (const article of document.querySelectorAll("article")) {
  const video = article.querySelector("video");
  const seconds = [...article.querySelectorAll("[data-from]")];
  if (!video) continue;
  video.addEventListener("timeupdate", () => {
    for (const one of seconds)
      one.classList.toggle("now", one.dataset.from <= video.currentTime && video.currentTime < one.dataset.to);
  });
  for (const one of seconds)
    one.addEventListener("click", () => { video.currentTime = +one.dataset.from + 0.01; video.play(); });
}
"""
