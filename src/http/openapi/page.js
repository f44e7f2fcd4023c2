const position = (operation) => operation.getIn(["operation", "x-position"]);

const ui = SwaggerUIBundle({
  url: "docs/openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  docExpansion: "list",
  operationsSorter: (one, other) => position(one) - position(other),
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
  /* Opens the submit, unless the link names an operation. */
  onComplete: () => location.hash || ui.layoutActions.show(["operations", "orders", "submitOrder"], true),
});
