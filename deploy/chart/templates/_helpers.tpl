{{/* Words that occur in many places. The driver's name is part of what is stored in volumes: it is no value. */}}

{{- define "meshstor.driver" -}}io.meshstor.csi.mesh{{- end -}}

{{- define "meshstor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: the longest suffix is put behind it and pods get 16 more. */}}
{{- define "meshstor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "meshstor.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "meshstor.selectorLabels" -}}
app.kubernetes.io/name: {{ include "meshstor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "meshstor.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "meshstor.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: meshstor
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Name of the service account of a role: list of the root and "controller" or "node". */}}
{{- define "meshstor.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $account := (index $root.Values $role).serviceAccount -}}
{{- $default := ternary (printf "%s-%s" (include "meshstor.fullname" $root) $role) "default" $account.create -}}
{{- default $default $account.name -}}
{{- end -}}

{{/* registry/repository:tag or @digest, of a dict with registry, repository, tag and digest. */}}
{{- define "meshstor.imageReference" -}}
{{- if .digest -}}
{{- printf "%s/%s@%s" .registry .repository .digest -}}
{{- else -}}
{{- printf "%s/%s:%s" .registry .repository .tag -}}
{{- end -}}
{{- end -}}

{{- define "meshstor.image" -}}
{{- $image := .Values.image -}}
{{- if not $image.registry -}}
{{- fail "\n\nimage.registry is empty: set it to the registry that serves the image of MeshStor, for instance\n  --set image.registry=registry.example.org\n" -}}
{{- end -}}
{{- include "meshstor.imageReference" (dict "registry" $image.registry "repository" $image.repository "digest" $image.digest "tag" (default .Chart.AppVersion $image.tag)) -}}
{{- end -}}

{{/* Image of a sidecar: list of the root and its name in the values. */}}
{{- define "meshstor.sidecarImage" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $image := (index $root.Values.sidecars $name).image -}}
{{- $registry := default $root.Values.sidecars.registry $image.registry -}}
{{- if not $registry -}}
{{- fail (printf "\n\nsidecars.registry is empty: set it to the registry that serves the CSI sidecars of the Kubernetes project (%s:%s and others), or a mirror of it, for instance\n  --set sidecars.registry=registry.example.org\n" $image.repository $image.tag) -}}
{{- end -}}
{{- include "meshstor.imageReference" (dict "registry" $registry "repository" $image.repository "digest" $image.digest "tag" $image.tag) -}}
{{- end -}}

{{/* Whether an object that needs an API is wanted: dict of mode, has and, for the message, value and needs. Empty: no. */}}
{{- define "meshstor.isWanted" -}}
{{- if and (eq .mode "on") (not .has) -}}
{{- fail (printf "\n\n%s is on, but the cluster has no %s\n" .value .needs) -}}
{{- end -}}
{{- if and .has (ne .mode "off") -}}true{{- end -}}
{{- end -}}

{{/* The address to listen on: list of the root and a port. */}}
{{- define "meshstor.listen" -}}
{{- printf "%s:%v" (index . 0).Values.metricsHost (index . 1) -}}
{{- end -}}
