/** The settings editor's words in the page's language. */

/** What of a schema is read by people. */
interface ITitled {
  title?: string;
  description?: string;
  properties?: Record<string, ITitled>;
}

/**
 * A schema with its titles and descriptions translated.
 *
 * JupyterLab's server looks up a schema's words in a language pack alone, which has none of ours. So it is done here,
 * with the translations that the page itself has.
 */
export function translated<T extends object>(schema: T, translate: (text: string) => string): T {
  const { title, description, properties } = schema as ITitled;
  const inner = Object.entries(properties ?? {}).map(([name, each]) => [name, translated(each, translate)]);
  return {
    ...schema,
    ...(title ? { title: translate(title) } : {}),
    ...(description ? { description: translate(description) } : {}),
    ...(properties ? { properties: Object.fromEntries(inner) } : {})
  };
}
