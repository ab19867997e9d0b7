// The layer that a page stands at: a strip sets it, figures and cards of its group follow at once,
// without asking the server.

const standing = new Map();
const followers = new Map();

export const layerOf = group => standing.get(group);

export function stand(group, label) {
  if (standing.get(group) === label) return;
  standing.set(group, label);
  for (const hear of followers.get(group) ?? []) hear(label);
}

/** Call `hear` whenever the layer of the group changes; returns what ends it. */
export function follow(group, hear) {
  if (!followers.has(group)) followers.set(group, new Set());
  followers.get(group).add(hear);
  return () => followers.get(group).delete(hear);
}
