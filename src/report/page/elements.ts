/** A new element at the end of `parent`. Text from outside goes in through `textContent` alone. */
export function appendElement<K extends keyof HTMLElementTagNameMap>(
  parent: Element,
  tag: K,
  className = '',
  text = '',
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  if (className !== '') made.className = className
  if (text !== '') made.textContent = text
  parent.append(made)
  return made
}

/** Whether the page's check box of this id is set; `otherwise` where the page has none. */
export function isChecked(id: string, otherwise: boolean): boolean {
  const box = document.getElementById(id)
  return box instanceof HTMLInputElement ? box.checked : otherwise
}

export function isRunShown(run: number): boolean {
  return isChecked(`show-run-${run}`, true)
}
