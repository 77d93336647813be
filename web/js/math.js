// Formulas. KaTeX is fetched when the first one comes; it builds elements itself, so that no HTML is parsed and styles are set
// one by one, which the content security policy allows.

let library = null;

function load() {
  library ??= import('../vendor/katex/katex.js').then(
    () =>
      new Promise((resolve) => {
        const sheet = Object.assign(document.createElement('link'), {
          rel: 'stylesheet',
          href: new URL('../vendor/katex/katex.css', import.meta.url).href,
        });
        sheet.onload = sheet.onerror = () => resolve(window.katex);
        document.head.append(sheet);
      }),
  );
  return library;
}

const OPTIONS = {
  trust: false,
  strict: 'ignore',
  throwOnError: true,
  maxExpand: 200,
  maxSize: 20,
  output: 'htmlAndMathml',
};
const MAX_LENGTH = 10000;

// Replaces the text of `element` by the formula; a formula that is none stays as it was written.
export async function typeset(element, tex, isDisplay) {
  if (tex.length > MAX_LENGTH) return;
  const draw = (katex) => {
    const made = document.createElement('span');
    try {
      katex.render(tex, made, {...OPTIONS, displayMode: isDisplay, macros: {}});
      if (!made.querySelector('a, img, script, iframe, [href], [src]')) element.replaceChildren(made);
    } catch {
      element.classList.add('not-a-formula');
    }
  };
  if (window.katex && document.querySelector('link[href*="katex"]')) return draw(window.katex);
  draw(await load());
}

// Formulas for a page without KaTeX's style sheet: as MathML, or as LaTeX where they have not been set yet.
export function plainFormulas(element) {
  for (const formula of element.querySelectorAll('.formula[data-tex]')) {
    formula.querySelectorAll('.katex-html').forEach((one) => one.remove());
    if (!formula.querySelector('math')) toLatex(formula);
  }
  return element;
}

function toLatex(formula) {
  const mark = formula.dataset.display ? '$$' : '$';
  formula.replaceChildren(`${mark}${formula.dataset.tex}${mark}`);
}

// Copying a selection that touches a formula gives its LaTeX, not its letters.
export function replaceFormulas(fragment) {
  fragment.querySelectorAll('.formula[data-tex]').forEach(toLatex);
  return fragment;
}
