import { makeDeployKey } from "../../stacks/deploy-key.ts";

makeDeployKey();
