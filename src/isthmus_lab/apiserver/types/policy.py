"""RBAC, authentication and authorization reviews."""

TYPES = """
Role: Rules for one namespace.
  metadata ObjectMeta @1 | Standard object metadata.
  rules [PolicyRule] @2 atomic | The rules.
ClusterRole: Rules for the cluster or any namespace.
  aggregationRule AggregationRule @3 | Roles to collect rules from.
  metadata ObjectMeta @1 | Standard object metadata.
  rules [PolicyRule] @2 atomic | The rules.
AggregationRule: Roles to collect rules from.
  clusterRoleSelectors [LabelSelector] @1 atomic | Selectors of those roles.
PolicyRule: What is allowed.
  apiGroups [string] @2 atomic | Groups of the resources; "" is the core group, "*" all.
  nonResourceURLs [string] @5 atomic | Paths that are no resources; a final * matches the rest.
  resourceNames [string] @4 atomic | Names; empty allows all.
  resources [string] @3 atomic | Resources or resource/subresource; "*" is all.
  verbs! [string] @1 atomic | Verbs; "*" is all.
RoleBinding: Grants a role in one namespace.
  metadata ObjectMeta @1 | Standard object metadata.
  roleRef! RoleRef @3 | The role; cannot be changed.
  subjects [Subject] @2 atomic | Who gets it.
ClusterRoleBinding: Grants a cluster role everywhere.
  metadata ObjectMeta @1 | Standard object metadata.
  roleRef! RoleRef @3 | The role; cannot be changed.
  subjects [Subject] @2 atomic | Who gets it.
RoleRef: Refers to a role.
  apiGroup string @1 =rbac.authorization.k8s.io | Its group.
  kind! string @2 | Role or ClusterRole.
  name! string @3 | Its name.
Subject: Who gets a role.
  apiGroup string @2 | Group of the subject.
  kind! string @1 | User, Group or ServiceAccount.
  name! string @3 | Its name.
  namespace string @4 | Its namespace, for a ServiceAccount.
TokenReview: Asks whom a token belongs to.
  metadata ObjectMeta @1 | Standard object metadata.
  spec! TokenReviewSpec @2 | The token.
  status TokenReviewStatus @3 | The answer.
TokenReviewSpec: A token to review.
  audiences [string] @2 atomic | Audiences of which the token must name one.
  token string @1 | The bearer token.
TokenReviewStatus: Whom a token belongs to.
  audiences [string] @4 atomic | Audiences in common.
  authenticated bool @1 | Whether the token is good.
  error string @3 | What is wrong with it.
  user UserInfo @2 | Whose it is.
UserInfo: A user.
  extra {[string]} @4 | More about the user.
  groups [string] @3 atomic | Groups.
  uid string @2 | Identifier.
  username string @1 | Name.
TokenRequest: Asks for a token of a service account.
  metadata ObjectMeta @1 | Standard object metadata.
  spec! TokenRequestSpec @2 | What is asked for.
  status TokenRequestStatus @3 | The token.
TokenRequestSpec: What token is asked for.
  audiences [string] @1 atomic | Who the token is for; by default the API server.
  boundObjectRef BoundObjectReference @3 | The token dies with this object.
  expirationSeconds int @4 =3600 | Lifetime asked for, at least 600.
BoundObjectReference: An object that a token is bound to.
  apiVersion string @2 | Its API version.
  kind string @1 | Pod, Secret or Node.
  name string @3 | Its name.
  uid string @4 | Its UID.
TokenRequestStatus: A token.
  expirationTimestamp! time @2 | When it ends.
  token! string @1 | The token.
SubjectAccessReview: Asks whether a user may do something.
  metadata ObjectMeta @1 | Standard object metadata.
  spec! SubjectAccessReviewSpec @2 | Who and what.
  status SubjectAccessReviewStatus @3 | The answer.
LocalSubjectAccessReview: Asks whether a user may do something in one namespace.
  metadata ObjectMeta @1 | Standard object metadata.
  spec! SubjectAccessReviewSpec @2 | Who and what.
  status SubjectAccessReviewStatus @3 | The answer.
SelfSubjectAccessReview: Asks whether you may do something.
  metadata ObjectMeta @1 | Standard object metadata.
  spec! SelfSubjectAccessReviewSpec @2 | What.
  status SubjectAccessReviewStatus @3 | The answer.
SubjectAccessReviewSpec: Who and what.
  extra {[string]} @5 | More about the user.
  groups [string] @4 atomic | Groups of the user.
  nonResourceAttributes NonResourceAttributes @2 | A path.
  resourceAttributes ResourceAttributes @1 | A resource.
  uid string @6 | Identifier of the user.
  user string @3 | The user.
SelfSubjectAccessReviewSpec: What.
  nonResourceAttributes NonResourceAttributes @2 | A path.
  resourceAttributes ResourceAttributes @1 | A resource.
ResourceAttributes: An action on a resource.
  fieldSelector any @8 | Limits the fields.
  group string @3 | Group; "*" is all.
  labelSelector any @9 | Limits the labels.
  name string @7 | Name; empty is all.
  namespace string @1 | Namespace; empty is all.
  resource string @5 | Resource; "*" is all.
  subresource string @6 | Subresource.
  verb string @2 | Verb; "*" is all.
  version string @4 | Version.
NonResourceAttributes: An action on a path.
  path string @1 | The path.
  verb string @2 | The verb.
SubjectAccessReviewStatus: Whether something is allowed.
  allowed! bool @1 | It is.
  denied bool @4 | It is denied whatever others say.
  evaluationError string @3 | What went wrong.
  reason string @2 | Why.
SelfSubjectRulesReview: Asks what you may do in a namespace.
  metadata ObjectMeta @1 | Standard object metadata.
  spec! SelfSubjectRulesReviewSpec @2 | Where.
  status SubjectRulesReviewStatus @3 | The answer.
SelfSubjectRulesReviewSpec: Where.
  namespace string @1 | The namespace.
SubjectRulesReviewStatus: What is allowed.
  evaluationError string @4 | What went wrong.
  incomplete! bool @3 | Whether rules are missing.
  nonResourceRules! [NonResourceRule] @2 atomic | Paths.
  resourceRules! [ResourceRule] @1 atomic | Resources.
ResourceRule: What is allowed on resources.
  apiGroups [string] @2 atomic | Groups.
  resourceNames [string] @4 atomic | Names.
  resources [string] @3 atomic | Resources.
  verbs! [string] @1 atomic | Verbs.
NonResourceRule: What is allowed on paths.
  nonResourceURLs [string] @2 atomic | Paths.
  verbs! [string] @1 atomic | Verbs.
SelfSubjectReview: Asks who you are.
  metadata ObjectMeta @1 | Standard object metadata.
  status SelfSubjectReviewStatus @2 | The answer.
SelfSubjectReviewStatus: Who you are.
  userInfo UserInfo @1 | You.
"""
