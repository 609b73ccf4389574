export function javascriptOf(
  fileName: string,
  text: string,
  options: { readonly inlineSourceMap?: boolean; readonly rewriteRelativeImportExtensions?: boolean },
): Promise<string>
