/** The folder of Pulumi.yaml. */
export const projectDir = import.meta.dirname;
