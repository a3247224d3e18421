{{/* What the sidecars have in common. */}}

{{/* Nothing but its own files and the socket. */}}
{{- define "meshstor.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Head of a sidecar's container: list of the root, its name in the values, the container's name. */}}
{{- define "meshstor.sidecar" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values.sidecars (index . 1) -}}
name: {{ index . 2 }}
image: {{ include "meshstor.sidecarImage" . }}
imagePullPolicy: {{ default $root.Values.image.pullPolicy $values.image.pullPolicy }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- if $values.securityContext }}
  {{- toYaml $values.securityContext | nindent 2 }}
  {{- else }}
  {{- include "meshstor.confined" $root | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
One that elects a leader of its own and talks to the API: list of the root, its name in the values, the container's name, its
own arguments. Whoever lost the API for longer than the lease lasts ends itself; the probe ends one that hangs.
*/}}
{{- define "meshstor.electedSidecar" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values.sidecars (index . 1) -}}
{{- include "meshstor.sidecar" . }}
args:
  - --csi-address=/csi/csi.sock
  - --leader-election=true
  - --leader-election-namespace=$(NAMESPACE)
  - --timeout={{ $values.timeout }}
  - --kube-api-qps=50
  - --kube-api-burst=100
  - --http-endpoint=:{{ $values.metricsPort }}
  - --v={{ $root.Values.sidecars.verbosity }}
  {{- range index . 3 }}
  - {{ . }}
  {{- end }}
  {{- range $values.extraArgs }}
  - {{ . | quote }}
  {{- end }}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
ports:
  - name: {{ index . 2 }}
    containerPort: {{ $values.metricsPort }}
    protocol: TCP
livenessProbe:
  httpGet:
    path: /healthz/leader-election
    port: {{ index . 2 }}
  initialDelaySeconds: 10
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 3
volumeMounts:
  - name: socket
    mountPath: /csi
{{- end -}}

{{/* Answers kubelet's probe by asking the socket: list of the root and where it listens. */}}
{{- define "meshstor.livenessProbe" -}}
{{- $root := index . 0 -}}
{{- include "meshstor.sidecar" (list $root "livenessProbe" "liveness-probe") }}
args:
  - --csi-address=/csi/csi.sock
  - --probe-timeout=5s
  - --http-endpoint={{ index . 1 }}
  - --v={{ $root.Values.sidecars.verbosity }}
  {{- range $root.Values.sidecars.livenessProbe.extraArgs }}
  - {{ . | quote }}
  {{- end }}
volumeMounts:
  - name: socket
    mountPath: /csi
{{- end -}}
