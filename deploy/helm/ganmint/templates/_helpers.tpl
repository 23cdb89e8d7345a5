{{- define "ganmint.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ganmint.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ganmint.labels" -}}
{{ include "ganmint.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Context: a list of the root, the component, and, where the object has them, its own labels and annotations. */ -}}
{{- define "ganmint.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := dict -}}
{{- if gt (len .) 2 -}}{{- $own = index . 2 -}}{{- end -}}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "ganmint.labels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ index . 1 }}
  {{- with merge (dict) (default (dict) $own.labels) $root.Values.labels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with merge (dict) (default (dict) $own.annotations) $root.Values.annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Where the Ingress and the HTTPRoute lead. */ -}}
{{- define "ganmint.entrance" -}}
{{- include "ganmint.fullname" . }}{{ if .Values.cache.enabled }}-cache{{ end }}
{{- end -}}

{{- define "ganmint.image" -}}
{{- $tag := default (printf "%s%s" .Chart.AppVersion (ternary "-cuda" "" .Values.gpu.enabled)) .Values.image.tag -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{- define "ganmint.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ganmint.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ganmint.keysSecret" -}}
{{- if .Values.apiKeys.existingSecret -}}
{{- .Values.apiKeys.existingSecret -}}
{{- else if .Values.apiKeys.records -}}
{{- include "ganmint.fullname" . }}-keys
{{- end -}}
{{- end -}}

{{- /* What every pod has: who it runs as, and where. */ -}}
{{- define "ganmint.pod" -}}
serviceAccountName: {{ include "ganmint.serviceAccount" . }}
automountServiceAccountToken: false
# They would set GANMINT_PORT and the like.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.runAsUser }}
  runAsGroup: {{ .Values.runAsUser }}
  fsGroup: {{ .Values.runAsUser }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with merge (dict) .Values.nodeSelector (ternary .Values.gpu.nodeSelector (dict) .Values.gpu.enabled) }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat .Values.tolerations (ternary .Values.gpu.tolerations (list) .Values.gpu.enabled) }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .Values.gpu.enabled .Values.gpu.runtimeClassName }}
runtimeClassName: {{ .Values.gpu.runtimeClassName }}
{{- end }}
{{- end -}}

{{- /* Of a pod that needs no GPU, whatever the others do. */ -}}
{{- define "ganmint.podWithoutGpu" -}}
{{- /* Not by merge, which takes false for a value that is not there. */ -}}
{{- $values := set (omit .Values "gpu") "gpu" (dict "enabled" false "nodeSelector" (dict) "tolerations" (list)) -}}
{{- include "ganmint.pod" (dict "Values" $values "Chart" .Chart "Release" .Release) -}}
{{- end -}}

{{- define "ganmint.container" -}}
image: {{ include "ganmint.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "ganmint.containerSecurity" . }}
{{- end -}}

{{- define "ganmint.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  privileged: false
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "ganmint.env" -}}
- {name: HOME, value: /tmp}
- {name: GANMINT_DEVICE, value: {{ ternary "cuda" "cpu" .Values.gpu.enabled }}}
{{- with .Values.models }}
{{- if or .claim .image .sources }}
- {name: BENTOML_HOME, value: /store}
{{- end }}
{{- end }}
{{- if .Values.models.publicKey }}
- {name: GANMINT_REQUIRE_SIGNED, value: "1"}
- {name: GANMINT_PUBLIC_KEY, value: /etc/ganmint-signer/key.pub}
{{- end }}
{{- end -}}

{{- /* The whole store is writable: a model is renamed into its place. */ -}}
{{- define "ganmint.scratchMounts" -}}
- {name: scratch, mountPath: /tmp, subPath: tmp}
- {name: scratch, mountPath: /store, subPath: store}
{{ include "ganmint.fileMounts" . }}
{{- end -}}

{{- /* /store is writable but for the models: BentoML makes folders of its own in its home. */ -}}
{{- define "ganmint.mounts" -}}
- {name: scratch, mountPath: /tmp, subPath: tmp}
{{- with .Values.models }}
{{- if or .claim .image .sources }}
- {name: scratch, mountPath: /store, subPath: store}
{{- end }}
{{- if .claim }}
- {name: store, mountPath: /store/models, subPath: models, readOnly: true}
{{- else if .image }}
- {name: store, mountPath: /store/models, readOnly: true}
{{- else if .sources }}
- {name: scratch, mountPath: /store/models, subPath: store/models, readOnly: true}
{{- end }}
{{- end }}
{{ include "ganmint.fileMounts" . }}
{{- end -}}

{{- define "ganmint.fileMounts" -}}
{{- if .Values.models.publicKey }}
- {name: signer, mountPath: /etc/ganmint-signer, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 0 }}{{ end }}
{{- end -}}

{{- define "ganmint.volumes" -}}
- name: scratch
  emptyDir: {sizeLimit: {{ .Values.scratchSize }}}
{{- with .Values.models.claim }}
- name: store
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- with .Values.models.image }}
- name: store
  image: {reference: {{ . | quote }}, pullPolicy: {{ $.Values.image.pullPolicy }}}
{{- end }}
{{- if .Values.models.publicKey }}
- name: signer
  configMap: {name: {{ include "ganmint.fullname" . }}-signer}
{{- end }}
{{- with .Values.extraVolumes }}{{ toYaml . | nindent 0 }}{{ end }}
{{- end -}}

{{- /* Fetches models.sources. Context: the root, the container's name and its further arguments, as a list. */ -}}
{{- define "ganmint.puller" -}}
{{- $root := index . 0 -}}
{{- $models := $root.Values.models -}}
name: {{ index . 1 }}
{{ include "ganmint.container" $root }}
args:
  {{- range concat (list "ganmint" "models" "pull") $models.sources (index . 2) }}
  - {{ . | quote }}
  {{- end }}
env:
  {{- include "ganmint.env" $root | nindent 2 }}
  {{- with $root.Values.extraEnv }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with $models.sourcesSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
resources: {{- toYaml $models.pullResources | nindent 2 }}
volumeMounts:
  {{- include "ganmint.scratchMounts" $root | nindent 2 }}
{{- end -}}

{{- /* Context: the root and the resources of the CPU, as a list. */ -}}
{{- define "ganmint.resources" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.gpu.enabled -}}
{{- $gpu := dict $root.Values.gpu.resource 1 -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.gpu.resources) (dict "limits" $gpu "requests" $gpu)) -}}
{{- else -}}
{{- toYaml (index . 1) -}}
{{- end -}}
{{- end -}}

{{- /* A Job cannot be changed: another export is another Job. How long it is kept and watched makes no other export. */ -}}
{{- define "ganmint.exportName" -}}
{{- $export := omit .Values.export "keepSeconds" "parallelism" "queue" -}}
{{- $models := omit .Values.models "pullSeconds" "pullResources" "egress" -}}
{{- $hash := list $export .Values.image .Values.gpu $models .Chart.AppVersion | toJson | sha256sum | trunc 8 -}}
{{- printf "%s-%s" (include "ganmint.fullname" .) $hash -}}
{{- end -}}

{{- define "ganmint.series" -}}
namespace="{{ .Release.Namespace }}",job="{{ include "ganmint.fullname" . }}"
{{- end -}}

{{- /* What one value alone cannot say; the schema has the rest. */ -}}
{{- define "ganmint.check" -}}
{{- with .Values -}}
{{- if and (eq .settings.runtime "onnx") .gpu.enabled -}}
{{- fail "settings.runtime onnx runs on the CPU only; set it to auto, or gpu.enabled to false" -}}
{{- end -}}
{{- if lt (int .settings.queueImages) (int .settings.maxN) -}}
{{- fail (printf "settings.queueImages (%d) must be at least settings.maxN (%d)" (int .settings.queueImages) (int .settings.maxN)) -}}
{{- end -}}
{{- if lt (int .autoscaling.maxReplicas) (int .autoscaling.minReplicas) -}}
{{- fail (printf "autoscaling.maxReplicas (%d) must be at least autoscaling.minReplicas (%d)" (int .autoscaling.maxReplicas) (int .autoscaling.minReplicas)) -}}
{{- end -}}
{{- if gt (len (compact (list .models.claim .models.image (join "" .models.sources)))) 1 -}}
{{- fail "models.claim, models.image and models.sources: give one of them" -}}
{{- end -}}
{{- if and .models.pullSeconds (not .models.sources) -}}
{{- fail "models.pullSeconds looks at models.sources, of which there are none" -}}
{{- end -}}
{{- if and .apiKeys.records .apiKeys.existingSecret -}}
{{- fail "apiKeys.records and apiKeys.existingSecret: give one of them" -}}
{{- end -}}
{{- if and (eq (int .strategy.maxSurge) 0) (eq (int .strategy.maxUnavailable) 0) -}}
{{- fail "strategy.maxSurge and strategy.maxUnavailable must not both be 0: no pod could ever be replaced" -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.host) -}}
{{- fail "ingress.host must be set where ingress.enabled" -}}
{{- end -}}
{{- if and .httpRoute.enabled (not (and .httpRoute.host .httpRoute.parentRefs)) -}}
{{- fail "httpRoute.host and httpRoute.parentRefs must be set where httpRoute.enabled" -}}
{{- end -}}
{{- range .ingress.paths -}}
{{- if and $.Values.httpRoute.enabled (eq .pathType "ImplementationSpecific") -}}
{{- fail (printf "ingress.paths: %s is ImplementationSpecific, which an HTTPRoute does not know; use Exact or Prefix" .path) -}}
{{- end -}}
{{- end -}}
{{- $wayIn := "" -}}
{{- if .ingress.enabled -}}{{- $wayIn = "ingress.enabled" -}}{{- end -}}
{{- if .httpRoute.enabled -}}{{- $wayIn = "httpRoute.enabled" -}}{{- end -}}
{{- if ne .service.type "ClusterIP" -}}{{- $wayIn = printf "service.type %s" .service.type -}}{{- end -}}
{{- if and $wayIn (not .apiKeys.records) (not .apiKeys.existingSecret) (not .apiKeys.open) -}}
{{- fail (printf "%s without API keys lets anyone in: set apiKeys.records (ganmint keys new) or apiKeys.existingSecret, or apiKeys.open=true if it is meant" $wayIn) -}}
{{- end -}}
{{- if and .cache.enabled (or .apiKeys.records .apiKeys.existingSecret) (not .settings.publicImages) -}}
{{- fail "cache.enabled has nothing to keep: with API keys images are private; set settings.publicImages if anyone may have what the cache has" -}}
{{- end -}}
{{- if .export.enabled -}}
{{- if not .export.model -}}{{- fail "export.model must be set where export.enabled" -}}{{- end -}}
{{- if not (contains "/" .export.model) -}}
{{- fail (printf "export.model must name a version, such as %s/1.0.0: a pod that starts later would else take a newer one" .export.model) -}}
{{- end -}}
{{- if lt (int .export.count) 1 -}}{{- fail "export.count must be at least 1 where export.enabled" -}}{{- end -}}
{{- if not .export.out -}}{{- fail "export.out must be set where export.enabled" -}}{{- end -}}
{{- if and .export.claim (not (hasPrefix "/data/" .export.out)) -}}
{{- fail (printf "export.out must begin with /data/ where export.claim is set, got %s" .export.out) -}}
{{- end -}}
{{- if and (not .export.claim) (not (contains "://" .export.out)) -}}
{{- fail (printf "export.out must be a URL such as s3://bucket/folder, or export.claim set, got %s" .export.out) -}}
{{- end -}}
{{- if gt (int .export.parallelism) (int .export.groups) -}}
{{- fail (printf "export.parallelism (%d) must be at most export.groups (%d)" (int .export.parallelism) (int .export.groups)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
